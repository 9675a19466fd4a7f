"""Who may use a data directory, and what is written there."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from pathlib import Path

import pytest

from khala.errors import ConfigurationError, Unavailable
from khala.local.data_directory import DATA_VERSION, DataDirectory, default_data_dir
from khala.local.finding import find_cluster
from khala.local.identity import identity_of
from khala.local.record import ClusterRecord, ProcessRecord, read_record, write_record


def _tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_new_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    directory = DataDirectory.claim(tmp_path / "a" / "b")
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert (directory.path / "VERSION").read_text().strip() == DATA_VERSION
    secret = directory.secret_file.read_text()
    assert len(secret.strip()) >= 32
    assert directory.secret_file.read_text() == secret
    directory.release()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("VERSION", "99\n", "has data of format '99'"),
        ("thesis.txt", "important\n", "holds something else than Khala's data"),
    ],
)
def test_a_foreign_directory_is_refused_and_left_alone(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=said) as refused:
        DataDirectory.claim(tmp_path)
    assert "--data-dir" in str(refused.value)
    assert _tree(tmp_path) == {name: content.encode()}


def test_a_version_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="has data of format"):
        DataDirectory.claim(tmp_path)


def test_a_write_that_fails_leaves_a_directory_that_can_be_claimed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(ConfigurationError, match="No space left on device: make room"):
            DataDirectory.claim(tmp_path)
    DataDirectory.claim(tmp_path).release()


def test_what_a_refused_start_made_is_taken_back(tmp_path: Path) -> None:
    directory = DataDirectory.claim(tmp_path)
    directory.log("up").write_text("refused\n")
    directory.discard_if_new()
    directory.release()
    assert _tree(tmp_path) == {"lock": b""}
    DataDirectory.claim(tmp_path).release()
    again = DataDirectory.claim(tmp_path)
    again.discard_if_new()
    again.release()
    assert "VERSION" in _tree(tmp_path)


def test_a_directory_in_use_is_refused_until_it_is_released(tmp_path: Path) -> None:
    first = DataDirectory.claim(tmp_path / "data")
    before = _tree(first.path)
    with pytest.raises(ConfigurationError, match="khala down --data-dir"):
        DataDirectory.claim(tmp_path / "data")
    assert _tree(first.path) == before
    first.release()
    DataDirectory.claim(tmp_path / "data").release()


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigurationError, match="is not a directory"):
        DataDirectory.claim(tmp_path / "data")


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = ClusterRecord(
        state="ready",
        gateway="http://127.0.0.1:7000",
        token="t",
        version="1",
        started_at=12.5,
        judicators=1,
        supervisor=identity_of(os.getpid()),
        ports={"gateway-1": 7000},
        processes=(ProcessRecord(name="executor-1", role="executor", restarts=2, last_exit="exit code 1"),),
    )
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert record.running


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"processes": [], "supervisor": null, "ports": [1]}',
        '{"processes": [], "supervisor": null, "ports": {"gateway-1": "x"}}',
        '{"state": "ready", "processes": [], "supervisor": 7}',
    ],
)
def test_a_damaged_record_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"cluster\.json"):
        read_record(tmp_path)


def test_another_process_with_the_same_pid_is_not_ours() -> None:
    own = identity_of(os.getpid())
    assert own is not None
    assert own.alive()
    stranger = dataclasses.replace(own, started="another boot/1")
    assert not stranger.alive()
    assert identity_of(2**22 + 1) is None


def test_the_environment_names_a_cluster(tmp_path: Path) -> None:
    environment = {"KHALA_URL": "http://far:7000", "KHALA_TOKEN": "t", "KHALA_DATA_DIR": str(tmp_path)}
    assert find_cluster(environment, None).url == "http://far:7000"
    with pytest.raises(Unavailable, match="khala up"):
        find_cluster(environment, tmp_path / "other")


def test_a_stopped_cluster_is_unavailable(tmp_path: Path) -> None:
    write_record(tmp_path, ClusterRecord(gateway="http://127.0.0.1:1", token="t"))
    with pytest.raises(Unavailable, match="not running"):
        find_cluster({"KHALA_DATA_DIR": str(tmp_path)}, None)


def test_a_running_cluster_is_found(tmp_path: Path) -> None:
    record = ClusterRecord(gateway="http://127.0.0.1:1", token="t", supervisor=identity_of(os.getpid()))
    write_record(tmp_path, record)
    found = find_cluster({}, tmp_path)
    assert (found.url, found.token) == ("http://127.0.0.1:1", "t")
    assert default_data_dir({"KHALA_DATA_DIR": "/x"}) == Path("/x")
