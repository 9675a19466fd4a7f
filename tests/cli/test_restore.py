"""`khala restore` where no cluster is needed: what is in a backup, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import bson
import pytest
from cli.conftest import ROOT, Khala

from khala.store.archive import ArchiveWriter, Section
from khala.store.mongo.schema import SCHEMA_VERSION


def a_backup(path: Path, schema: int = SCHEMA_VERSION) -> Path:
    with path.open("wb") as file:
        archive = ArchiveWriter(file)
        archive.header(
            {"khala": "0.1.0", "schema": schema, "cluster_id": "c", "generation": 7, "made_at": 1e9}
        )
        archive.begin(Section(name="tasks"))
        archive.documents(bson.encode({"_id": "a"}) + bson.encode({"_id": "b"}))
        archive.end()
        archive.finish()
    return path


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return a_backup(tmp_path / "a.backup")


def test_verify_says_what_is_in_it(khala: Khala, backup: Path) -> None:
    shown = khala("restore", "--verify", str(backup))
    assert shown.code == 0
    assert "of cluster c" in shown.err and "2001-09-09" in shown.err
    assert shown.out.split()[-2:] == ["tasks", "2"]
    told = json.loads(khala("restore", "--verify", "--json", str(backup)).out)
    assert (told["documents"], told["generation"]) == ({"tasks": 2}, 7)


def test_a_damaged_one_is_refused_and_leaves_nothing(khala: Khala, backup: Path, tmp_path: Path) -> None:
    backup.write_bytes(backup.read_bytes()[:-20])
    refused = khala("restore", str(backup), "--data-dir", str(tmp_path / "new"))
    assert refused.code == 2
    assert "is damaged" in refused.err
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lock"]
    assert khala("restore", "--verify", str(backup)).code == 2


@pytest.mark.parametrize("step", [-2, 2])
def test_one_of_a_distant_schema_is_refused(khala: Khala, tmp_path: Path, step: int) -> None:
    distant = a_backup(tmp_path / "distant", SCHEMA_VERSION + step)
    refused = khala("restore", "--verify", str(distant))
    assert refused.code == 2
    assert f"has schema version {SCHEMA_VERSION + step}" in refused.err


def test_a_directory_with_data_is_left_as_it_is(khala: Khala, backup: Path, tmp_path: Path) -> None:
    judicator = tmp_path / "judicator"
    (judicator / "mongodb").mkdir(parents=True)
    refused = khala("restore", str(backup), "--judicator-data-dir", str(judicator))
    assert refused.code == 2
    assert "has data" in refused.err
    (tmp_path / "other").write_text("mine")
    assert khala("restore", str(backup), "--data-dir", str(tmp_path)).code == 2
    both = khala("restore", str(backup), "--judicator-data-dir", str(judicator), "--data-dir", str(tmp_path))
    assert both.code == 2
    assert {path.name for path in tmp_path.iterdir()} == {"a.backup", "judicator", "other"}


def test_a_terminal_sees_how_far_it_is(backup: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "khala.cli.main", "restore", "--verify", backup],
            stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT, timeout=60, check=True,
        )  # fmt: skip
        assert b"verify" in os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
