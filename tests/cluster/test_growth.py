"""Thousands of tasks through one executor leave nothing behind and make nothing grow."""

from __future__ import annotations

import os

import pytest
from cluster.conftest import LocalCluster
from cluster.executor_footprint import Footprint
from wait import wait_until

from khala.client import Client

TASKS = int(os.environ.get("KHALA_GROWTH_TASKS") or 4_000)
WITHIN_S = 300 + TASKS // 2
"""For half of them, on a machine that runs four of them a second beside all other tests."""
GROWTH_BYTES = 5 << 20


@pytest.mark.timeout(600 + 4 * WITHIN_S)
def test_thousands_of_tasks_leave_nothing(cluster: LocalCluster) -> None:
    ready = cluster.up()
    footprint = Footprint(cluster)
    with Client(ready["gateway"], ready["token"], patience_s=120) as client:

        def run(tasks: int, done_before: int) -> None:
            answers = client.submit_many([{"execute": {"command": "true"}}] * tasks)
            assert [answer for answer in answers if "id" not in answer][:3] == []
            assert len({answer["id"] for answer in answers}) == tasks

            def all_succeeded() -> bool:
                counts = {state: count for state, count in client.stats()["tasks"].items() if count}
                assert counts == {"succeeded": done_before + tasks}, counts
                return True

            wait_until(all_succeeded, timeout_s=WITHIN_S, what="every outcome")

        run(TASKS // 2, 0)
        # The executor forgets an outcome when it is told that it is settled, a moment after we are.
        wait_until(
            lambda: footprint.is_idle and not any(footprint.leftovers().values()), what="a quiet executor"
        )
        bytes_before, descriptors_before = footprint.bytes(), footprint.descriptors()
        run(TASKS // 2, TASKS // 2)
        wait_until(lambda: not any(footprint.leftovers().values()), what="nothing left")
    # A launcher tells of an end a moment before it is idle.
    wait_until(
        lambda: all(now <= descriptors_before[name] for name, now in footprint.descriptors().items()),
        what="no more descriptors than before",
    )
    assert footprint.bytes() - bytes_before < GROWTH_BYTES
