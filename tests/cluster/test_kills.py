"""kill -9 of each process of a cluster, one at a time, while 800 tasks run on it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cluster.conftest import LocalCluster
from cluster.load import assert_one_story, wait_all_ended
from cluster.victims import victim
from wait import wait_until

from khala.client import Client

TASKS = 800
EACH = 10
"""So many come to their end between one kill and the next."""
KINDS = ("executor", "gateway", "etcd", "mongod", "judicator")


def submit_all(client: Client, name: str, gate: Path) -> list[str]:
    """Tasks that print their own id, two at a time. Each takes so long that they outlast the kills, until the
    gate is open."""
    command = f"test -e {gate} || sleep 2; echo $KHALA_TASK_ID"
    task = {"name": name, "execute": {"command": command}, "retry": {"max_attempts": 8}}
    answers = client.submit_many([task] * TASKS)
    ids = [answer["id"] for answer in answers]
    assert len(set(ids)) == TASKS
    return ids


def finished(client: Client) -> int:
    """How many tasks of the cluster are over."""
    counts = client.stats()["tasks"]
    return int(counts["succeeded"] + counts["failed"] + counts["cancelled"])


def restarts(cluster: LocalCluster, client: Client, kind: str) -> int:
    """How often its keeper started it again: the supervisor a role, the judicator its servers."""
    for entry in cluster.record().processes:
        if entry.name == f"{kind}-1":
            return entry.restarts
    return sum(judicator["restarts"].get(kind, 0) for judicator in client.judicators())


def told_restarts(cluster: LocalCluster, kind: str) -> int:
    """The same, as `khala status` says it."""
    shown = cluster.told("status", "--json")
    for entry in shown["processes"]:
        if entry["name"] == f"{kind}-1":
            return int(entry["restarts"])
    judicators = shown["cluster"].get("judicators", [])
    return sum(judicator["restarts"].get(kind, 0) for judicator in judicators)


@pytest.fixture
def client(running: LocalCluster) -> Client:
    return Client(running.ready["gateway"], running.ready["token"], patience_s=120)


def test_everything_finishes_once_although_each_process_is_killed(
    running: LocalCluster, client: Client, gate: Path
) -> None:
    ids = submit_all(client, "kill-", gate)
    for kind in KINDS:
        over = finished(client)
        wait_until(lambda over=over: finished(client) >= over + EACH, timeout_s=300, what="more outcomes")
        before = restarts(running, client, kind)
        assert finished(client) < TASKS, f"nothing is left to do while the {kind} is killed"
        victim(running, kind).send_signal(signal.SIGKILL)
        wait_until(
            lambda kind=kind, before=before: restarts(running, client, kind) > before,
            timeout_s=300,
            what=f"the restart of the {kind}",
        )
        wait_until(
            lambda kind=kind, before=before: told_restarts(running, kind) > before,
            timeout_s=300,
            what=f"status tells of the {kind}",
        )

    gate.touch()
    tasks = wait_all_ended(client, "kill-")
    assert sorted(task["id"] for task in tasks) == sorted(ids)
    succeeded = [task for task in tasks if task["state"] == "succeeded"]
    assert len(succeeded) >= 0.99 * TASKS, [t for t in tasks if t["state"] != "succeeded"][:3]
    for task in tasks:
        assert_one_story(task)
    for task in succeeded:
        assert task["result"]["execute"]["stdout"]["head"] == f"{task['id']}\n"
    assert any(task["attempt"] > 1 for task in tasks), "no second attempt occurred"
