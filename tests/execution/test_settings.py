"""The check that a workspace root can be used, by really using it; and the frames' format."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from uids import first_test_uid

from khala.errors import ConfigurationError
from khala.execution.launching.framing import BadFrame, FrameReader, encode
from khala.execution.settings import ExecutionSettings, prepare_workspace_root

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")


@as_root
def test_a_root_that_the_slots_may_use(open_folder: Path) -> None:
    root = open_folder / "new" / "root"
    prepare_workspace_root(root, first_test_uid())
    prepare_workspace_root(root, first_test_uid())
    assert root.stat().st_mode & 0o777 == 0o711
    assert list(root.iterdir()) == []


@as_root
def test_a_root_below_a_private_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigurationError, match=f"uid {first_test_uid()} cannot enter.*--workspace-root"):
        prepare_workspace_root(tmp_path / "root", first_test_uid())
    assert list((tmp_path / "root").iterdir()) == []


@as_root
def test_a_root_where_nothing_may_run(open_folder: Path) -> None:
    root = open_folder / "noexec"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", str(root)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mount is not allowed here")
    try:
        with pytest.raises(ConfigurationError, match="without noexec"):
            prepare_workspace_root(root, first_test_uid())
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_root_for_the_own_user(tmp_path: Path) -> None:
    prepare_workspace_root(tmp_path / "root", None)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="choose another"):
        prepare_workspace_root(tmp_path / "file", None)


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        ExecutionSettings(slots=0, workspace_root=tmp_path)
    with pytest.raises(ConfigurationError, match="root"):
        ExecutionSettings(slots=1, workspace_root=tmp_path, uid_base=0)


def test_frames_in_any_pieces() -> None:
    frames = [({"a": "é"}, [b"", b"\0\xff"]), ({}, []), ({"b": [1, None]}, [b"x" * 1000])]
    stream = b"".join(encode(header, blobs) for header, blobs in frames)
    for size in (1, 2, 9, len(stream)):
        reader = FrameReader(2000)
        found = [frame for at in range(0, len(stream), size) for frame in reader.feed(stream[at : at + size])]
        assert found == frames


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 8, encode({}, [b"x" * 3000]),
        b"\0\0\0\2\0\0\0\0[]", b"\0\0\0\2\0\0\0\0{}", b"\0\0\0\1\0\0\0\0x",
        encode({}, [b"x"]).replace(b"[1]", b"[2]"),
    ],
)  # fmt: skip
def test_bad_frames(data: bytes) -> None:
    with pytest.raises(BadFrame):
        list(FrameReader(2000).feed(data))
