"""Which etcd and mongod are chosen, and what is said when there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from khala.errors import ConfigurationError
from khala.services.executables import Executable, etcd_is_sound, find_etcd, find_mongod


def a_program(folder: Path, name: str, version: str, *, exit_code: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{version}'\necho 'bad luck' >&2\nexit {exit_code}\n")
    program.chmod(0o755)
    return program


def test_wheel_is_found_when_path_has_none() -> None:
    assert find_etcd(path="/nonexistent").origin == "wheel"
    assert find_mongod(path="/nonexistent").origin == "wheel"


@pytest.mark.parametrize(
    ("version", "origin"),
    [
        ("3.4.22", "path"),
        ("3.5.6", "path"),
        ("3.6.1", "path"),
        ("3.4.21", "wheel"),
        ("3.5.5", "wheel"),
        ("3.3.9", "wheel"),
    ],
)
def test_sound_etcd_on_path_is_preferred(tmp_path: Path, version: str, origin: str) -> None:
    a_program(tmp_path / "bin", "etcd", f"etcd Version: {version}")
    assert find_etcd(path=str(tmp_path / "bin")).origin == origin


@pytest.mark.parametrize("version", [(3, 5, 0), (3, 5, 5), (3, 4, 21), (2, 0, 0)])
def test_releases_that_corrupt_are_known(version: tuple[int, int, int]) -> None:
    assert not etcd_is_sound(version)


def test_given_program_is_taken(tmp_path: Path) -> None:
    program = a_program(tmp_path, "my-etcd", "etcd Version: 3.5.2")
    assert find_etcd(str(program)) == Executable(path=program, version=(3, 5, 2), origin="flag")


@pytest.mark.parametrize("find", [find_etcd, find_mongod])
def test_missing_given_program_says_how_to_get_one(find: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find(str(tmp_path / "none"))  # type: ignore[operator]
    assert "pip install 'khala[local]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_program_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    program = a_program(tmp_path, "etcd", "", exit_code=1)
    with pytest.raises(ConfigurationError, match="bad luck") as caught:
        find_etcd(str(program))
    assert "\n" not in str(caught.value)


def test_nothing_found_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"no mongod on PATH .*pip install"):
        find_mongod(path=str(tmp_path))


def test_wheel_without_run_bit_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = a_program(tmp_path / "etcdbin", "etcd", "etcd Version: 3.5.1")
    program.chmod(0o644)

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec())
    found = find_etcd(path="/nonexistent")
    assert (found.origin, found.path) == ("wheel", program)
    assert os.access(program, os.X_OK)


def test_wheel_that_cannot_be_changed_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = a_program(tmp_path / "etcdbin", "etcd", "etcd Version: 3.5.1")
    program.chmod(0o644)
    refused = program

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    real_chmod = Path.chmod

    def chmod(path: Path, mode: int) -> None:
        if path == refused:
            raise PermissionError(1, "Operation not permitted")
        real_chmod(path, mode)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec())
    monkeypatch.setattr(Path, "chmod", chmod)
    found = find_etcd(path="/nonexistent", copies=tmp_path / "copies")
    assert found.path == tmp_path / "copies" / "etcd"
    assert os.access(found.path, os.X_OK)
