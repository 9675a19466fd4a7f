"""The tests' clusters end with the tests, also with those that are killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from cluster.conftest import ROOT
from cluster.guard import guarded, working_in
from wait import wait_until

TEST = """
import signal, subprocess, sys
from pathlib import Path
from cluster.guard import guarded
place = Path(sys.argv[1].replace("+", "/"))
with guarded(place):
    waits = "import signal; signal.pause()"
    subprocess.Popen([sys.executable, "-c", waits, str(place / "etcd")], start_new_session=True)
    print("up", flush=True)
    signal.pause()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "a-cluster"


def test_what_works_for_a_killed_test_is_ended(place: Path) -> None:
    """By the pipe to its guard, whatever killed the test."""
    coded = str(place).replace("/", "+")
    words = [sys.executable, "-c", TEST, coded]
    test = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "tests")})
    assert test.stdout is not None
    with test.stdout:
        assert test.stdout.readline() == b"up\n"
    assert len(working_in(str(place))) == 1
    test.kill()
    test.wait()
    wait_until(lambda: not working_in(str(place)), what="the end of what it had started")


def test_a_guard_ends_with_its_block(place: Path) -> None:
    """And does nothing to what was in order."""
    before = set(psutil.Process().children())
    with guarded(place):
        assert len(set(psutil.Process().children()) - before) == 1
        assert working_in(str(place)) == []
    assert set(psutil.Process().children()) == before
