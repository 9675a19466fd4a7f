"""Processes that survived their launcher and the zygote: the next launcher of the slot ends them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from khala.execution.launching.strays import end_strays

TASK_ID = f"{7:024x}"
DIVES = """
import os, signal, sys
os.chdir(sys.argv[1])
for _ in range(int(sys.argv[2])):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
print("there", flush=True)
signal.pause()
"""
DEEP = 25
"""Folders, after which a path is longer than the kernel tells."""


def stray(folder: Path, depth: int, *, task_id: str = TASK_ID, attempt: int = 2) -> subprocess.Popen[str]:
    folder.mkdir(parents=True)
    environment = {"PATH": os.defpath, "KHALA_TASK_ID": task_id, "KHALA_ATTEMPT": str(attempt)}
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", DIVES, str(folder), str(depth)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def test_only_an_attempts_own_are_ended_however_deep_they_are(tmp_path: Path) -> None:
    workspace = tmp_path / "0-workspace"
    own = [stray(workspace / "shallow", 0), stray(workspace / "deep", DEEP)]
    others = [
        stray(tmp_path / "elsewhere", 0),
        stray(tmp_path / "deep elsewhere", DEEP, attempt=3),
        stray(workspace / "of another", 0, task_id=f"{8:024x}"),
    ]
    try:
        end_strays(str(workspace), TASK_ID, 2)
        assert [process.wait(30) for process in own] == [-9, -9]
        assert [process.poll() for process in others] == [None, None, None]
    finally:
        for process in own + others:
            process.kill()
            process.communicate()
