"""A thousand mixed tasks in one batch on a real cluster: every outcome exactly right."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cluster.conftest import LocalCluster
from cluster.load import listed
from wait import wait_until

from khala.client import Client

Task = Mapping[str, Any]
TEN_MIB = 10 * 1024 * 1024
KEPT = 32 * 1024
BINARY = bytes(range(256)) * 4


def stdout(task: Task) -> Mapping[str, Any]:
    """What is kept of the execute phase's standard output."""
    shown: Mapping[str, Any] = task["result"]["execute"]["stdout"]
    return shown


def kept_bytes(stream: Mapping[str, Any], part: str) -> bytes:
    """Head or tail as bytes; base64 when the text could not say it."""
    encoded = stream.get(f"{part}_base64")
    return base64.b64decode(encoded) if encoded is not None else stream[part].encode()


def succeeded(task: Task) -> None:
    assert (task["state"], task["exit_reason"]) == ("succeeded", "exited"), task


def check_echo(task: Task) -> None:
    succeeded(task)
    assert stdout(task)["head"] == f"{task['id']}\n"
    assert task["result"]["compile"] is None


def check_compiled(task: Task) -> None:
    succeeded(task)
    assert task["result"]["compile"]["exit_code"] == 0
    assert stdout(task)["head"] == "built\n"


def check_compile_failure(task: Task) -> None:
    assert (task["state"], task["exit_reason"], task["phase"]) == ("failed", "exited", "compile"), task
    assert task["result"]["compile"]["exit_code"] == 2
    assert task["result"]["compile"]["stderr"]["head"] == "no such thing\n"
    assert task["result"]["execute"] is None


def check_run_failure(task: Task) -> None:
    assert (task["state"], task["exit_reason"], task["phase"]) == ("failed", "exited", "execute"), task
    assert task["result"]["execute"]["exit_code"] == 7


def check_signal(task: Task) -> None:
    assert (task["state"], task["exit_reason"]) == ("failed", "signaled"), task
    assert task["result"]["execute"]["signal"] == 11


def check_timeout(task: Task) -> None:
    assert (task["state"], task["exit_reason"]) == ("failed", "wall_time_limit"), task
    assert stdout(task)["head"] == "before\n"
    assert 2.5 <= task["result"]["execute"]["wall_time"] < 60


def check_cancelled(task: Task) -> None:
    assert (task["state"], task["exit_reason"]) == ("cancelled", "cancelled"), task


def check_much_output(task: Task) -> None:
    succeeded(task)
    stream = stdout(task)
    assert (stream["size"], stream["truncated"]) == (TEN_MIB, False)
    pattern = b"0123456789abcdef" * (KEPT // 16)
    assert kept_bytes(stream, "head") == pattern
    assert kept_bytes(stream, "tail") == pattern


def check_binary(task: Task) -> None:
    succeeded(task)
    assert hashlib.sha256(kept_bytes(stdout(task), "head")).digest() == hashlib.sha256(BINARY).digest()
    assert stdout(task)["size"] == len(BINARY)


def check_empty(task: Task) -> None:
    succeeded(task)
    assert (stdout(task)["size"], stdout(task)["head"], stdout(task)["truncated"]) == (0, "", False)


def check_compile_only(task: Task) -> None:
    succeeded(task)
    assert task["result"]["execute"] is None
    assert task["result"]["compile"]["stdout"]["head"] == "checked\n"


def execute(command: object, **more: object) -> dict[str, Any]:
    """A task that only executes."""
    return {"execute": {"command": command, **more}}


KINDS: Mapping[str, tuple[int, dict[str, Any], Callable[[Task], None]]] = {
    "echo": (410, execute('echo "$KHALA_TASK_ID"'), check_echo),
    "compiled": (
        60,
        {
            "inputs": [{"path": "main.sh", "content": "echo built\n"}],
            "compile": {"command": "cp main.sh main && chmod +x main"},
            "execute": {"command": "bash ./main"},
        },
        check_compiled,
    ),
    "compile-failure": (
        80,
        {"compile": {"command": "echo no such thing >&2; exit 2"}, "execute": {"command": "echo never"}},
        check_compile_failure,
    ),
    "run-failure": (150, execute("exit 7"), check_run_failure),
    "signal": (50, execute("kill -SEGV $$"), check_signal),
    "timeout": (10, execute("echo before; exec sleep 600", limits={"wall_time": 2.5}), check_timeout),
    "cancelled": (20, {"priority": -100, **execute("sleep 600")}, check_cancelled),
    "much-output": (
        5,
        execute(f"yes 0123456789abcdef | tr -d '\\n' | head -c {TEN_MIB}"),
        check_much_output,
    ),
    "binary": (
        65,
        execute(f"base64 -d <<< {base64.b64encode(BINARY).decode()}"),
        check_binary,
    ),
    "empty": (100, execute(["true"]), check_empty),
    "compile-only": (50, {"compile": {"command": "echo checked"}}, check_compile_only),
}


def test_a_thousand_mixed_tasks(running: LocalCluster) -> None:
    tasks: list[dict[str, Any]] = []
    for kind, (count, task, _) in KINDS.items():
        for number in range(count):
            name = f"{kind}.{number}"
            tasks.append({**task, "name": name})
    assert len(tasks) == 1000
    with Client(running.ready["gateway"], running.ready["token"], patience_s=120) as client:
        ids = [answer["id"] for answer in client.submit_many(tasks)]
        for task, task_id in zip(tasks, ids, strict=True):
            if task["name"].startswith("cancelled."):
                client.cancel(task_id)

        def at_rest() -> bool:
            counts = client.stats()["tasks"]
            assert not any(counts.get(state, 0) for state in ("pending", "assigned", "running")), counts
            return True

        wait_until(at_rest, timeout_s=500, what="every outcome")
        names = {task_id: task["name"] for task, task_id in zip(tasks, ids, strict=True)}
        for kind, (count, _, check) in KINDS.items():
            found = listed(client, f"{kind}.")
            assert len(found) == count
            for task in found:
                assert names.pop(task["id"]) == task["name"]
                check(task)
        assert not names
