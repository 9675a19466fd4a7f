"""kill -9 of each process of a cluster, one at a time, while 500 tasks run on it."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import Any

import psutil
import pytest
from cluster.conftest import LocalCluster
from cluster.load import TERMINAL, assert_one_story, listed
from wait import wait_until

from khala.client import Client

TASKS = 500
FINISH_WITHIN_S = 100


def submit_all(client: Client, name: str) -> list[str]:
    """Tasks that each take a moment and print their own id."""
    command = "sleep 0.05; echo $KHALA_TASK_ID"
    task = {"name": name, "execute": {"command": command}, "retry": {"max_attempts": 5}}
    answers = client.submit_many([task] * TASKS)
    ids = [answer["id"] for answer in answers]
    assert len(set(ids)) == TASKS
    return ids


def finished(client: Client, name: str) -> list[Mapping[str, Any]]:
    """The finished tasks of that name."""
    return [task for task in listed(client, name, view="minimal") if task["state"] in TERMINAL]


def victim(cluster: LocalCluster, kind: str) -> psutil.Process:
    """The process to kill: a role process by its name, a native server by its program."""
    entry = next((e for e in cluster.record().processes if e.name == f"{kind}-1"), None)
    if entry is not None and entry.identity is not None:
        return psutil.Process(entry.identity.pid)
    return next(process for process in cluster.processes() if process.name() == kind)


def restarts(cluster: LocalCluster, kind: str) -> int:
    """How often `khala status` says that it was started again."""
    shown = json.loads(cluster.khala("status", "--json").stdout)
    for entry in shown["processes"]:
        if entry["name"] == f"{kind}-1":
            return int(entry["restarts"])
    judicators = shown["cluster"].get("judicators", [])
    return sum(judicator["restarts"].get(kind, 0) for judicator in judicators)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["executor", "gateway", "etcd", "mongod", "judicator"])
def test_everything_finishes_once_although_one_process_is_killed(running: LocalCluster, kind: str) -> None:
    with Client(running.ready["gateway"], running.ready["token"]) as client:
        name = f"kill-{kind}-"
        before = restarts(running, kind)
        ids = submit_all(client, name)
        wait_until(lambda: len(finished(client, name)) >= 20, what="the first outcomes")
        victim(running, kind).send_signal(signal.SIGKILL)

        def all_finished() -> bool:
            count = len(finished(client, name))
            assert count == TASKS, f"{count} of {TASKS} are finished"
            return True

        wait_until(all_finished, timeout_s=FINISH_WITHIN_S, what="every outcome")
        tasks = listed(client, name)
        assert sorted(task["id"] for task in tasks) == sorted(ids)
        succeeded = [task for task in tasks if task["state"] == "succeeded"]
        assert len(succeeded) >= 0.99 * TASKS, [t for t in tasks if t["state"] != "succeeded"][:3]
        for task in tasks:
            assert_one_story(task)
        for task in succeeded:
            assert task["result"]["execute"]["stdout"]["head"] == f"{task['id']}\n"
        if kind == "executor":
            assert any(task["attempt"] > 1 for task in tasks), "no second attempt occurred"
        wait_until(
            lambda: restarts(running, kind) == before + 1, timeout_s=30, what=f"status tells of the {kind}"
        )
