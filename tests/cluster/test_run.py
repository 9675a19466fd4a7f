"""`khala run` on a real cluster: output, exit codes, Ctrl-C, input, limits."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from cluster.conftest import LocalCluster
from wait import wait_until


def test_output_goes_to_the_right_streams(running: LocalCluster) -> None:
    ended = running.khala("run", "--", "bash", "-c", "echo out; echo err >&2")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "code"), [("exit 7", 7), ("kill -TERM $$", 143), ("no-such-program", 127), ("true", 0)]
)
def test_the_exit_code_is_the_tasks(running: LocalCluster, command: str, code: int) -> None:
    assert running.khala("run", "--", "bash", "-c", command).returncode == code


def test_a_time_limit_is_124(running: LocalCluster) -> None:
    ended = running.khala("run", "--limit", "0.5", "--", "sleep", "60")
    assert ended.returncode == 124
    assert "time" in ended.stderr


def test_standard_input_files_and_environment(running: LocalCluster, tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    file.write_bytes(b"\xff\x00file")
    words = ["-i", "--input-file", f"sub/x.bin={file}", "--env", "GREETING=hello"]
    ended = running.khala(
        "run", *words, "--", "bash", "-c", "cat; echo $GREETING; wc -c < sub/x.bin", stdin="typed\n"
    )
    assert ended.stdout.split() == ["typed", "hello", "6"], ended.stderr


def test_a_compile_error_ends_it(running: LocalCluster) -> None:
    ended = running.khala("run", "--compile", "echo wrong >&2; exit 3", "--", "echo", "never")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "wrong" in ended.stderr


def test_ctrl_c_cancels_the_task(running: LocalCluster) -> None:
    process = running.spawn("run", "--name", "interrupted", "--", "sleep", "600")

    def listed() -> list[dict[str, str]]:
        shown = running.told("ls", "--json", "--name-prefix", "interrupted")
        return [task for task in shown["tasks"] if task["state"] == "running"]

    (task,) = wait_until(listed, what="the task to run")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    # It waits ten seconds for the end, which is on the way then.
    wait_until(
        lambda: running.told("show", "--json", task["id"])["state"] == "cancelled",
        what="the end",
    )


def test_submit_ls_show_cancel(running: LocalCluster) -> None:
    task_id = running.khala("submit", "--name", "later", "--", "sleep", "600").stdout.strip()
    assert task_id in running.khala("ls").stdout
    assert running.khala("cancel", task_id).returncode == 0
    wait_until(lambda: "cancelled" in running.khala("show", task_id).stdout, what="the cancel")
    assert running.khala("cancel", "0" * 24).returncode == 4
    assert running.khala("show", "0" * 24).returncode == 4


def test_a_batch_from_standard_input(running: LocalCluster) -> None:
    tasks = [{"execute": {"command": f"echo {n}"}} for n in range(20)]
    ended = running.khala("submit", "--file", "-", stdin=json.dumps(tasks))
    ids = ended.stdout.split()
    assert (ended.returncode, len(set(ids))) == (0, 20)

    def states() -> set[str]:
        return {running.told("show", "--json", one)["state"] for one in ids[:3]}

    wait_until(lambda: states() == {"succeeded"}, what="the batch")


def test_members(running: LocalCluster) -> None:
    assert "executor-1" in running.khala("executors").stdout
    assert "leads" in running.khala("judicators").stdout
