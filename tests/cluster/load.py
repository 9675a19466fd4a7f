"""A steady load on a cluster, and what must be true of its tasks afterwards."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from wait import wait_until

from khala.client import Client
from khala.errors import KhalaError

TERMINAL = {"succeeded", "failed", "cancelled"}
ECHO = {"execute": {"command": "sleep 0.02; echo $KHALA_TASK_ID"}}


class Load:
    """Submits one task after the other from a thread of its own; what was acknowledged is in `ids`."""

    def __init__(self, gateway: str, token: str, name: str) -> None:
        self.ids: list[str] = []
        self.failures: list[KhalaError] = []
        self._name = name
        self._client = Client(gateway, token, patience_s=120)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        wait_until(lambda: len(self.ids) >= 20, timeout_s=300, what="the load")
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(300)
        self._client.close()
        assert not self.failures

    def goes_on(self) -> None:
        """Wait until ten more were acknowledged."""
        enough = len(self.ids) + 10
        wait_until(lambda: len(self.ids) >= enough, timeout_s=300, what="ten more acknowledged tasks")

    def _run(self) -> None:
        while not self._end.wait(0.03):
            try:
                self.ids.append(self._client.submit({**ECHO, "name": self._name}))
            except KhalaError as failure:
                self.failures.append(failure)
                return


def assert_all_ended_once(client: Client, ids: Sequence[str], name: str) -> list[Mapping[str, Any]]:
    """Every acknowledged task is there, succeeded with its own output, and has one story."""
    found = wait_all_ended(client, name)
    assert set(ids) <= {task["id"] for task in found}
    for task in found:
        assert_one_story(task)
        assert task["state"] == "succeeded", task
        assert task["result"]["execute"]["stdout"]["head"] == f"{task['id']}\n"
    return found


def wait_all_ended(client: Client, name: str) -> list[Mapping[str, Any]]:
    """Wait until every task of that name is over; all of them. What is asked again and again costs little."""

    def tasks() -> list[Mapping[str, Any]]:
        for state in ("running", "assigned", "pending"):
            assert not client.list(page_size=1, name_prefix=name, state=state, view="minimal").tasks, state
        found = listed(client, name)
        assert all(task["state"] in TERMINAL for task in found), "one was between two states"
        return found

    return wait_until(tasks, timeout_s=300, what="every outcome")


def listed(client: Client, name: str, *, view: str = "full") -> list[Mapping[str, Any]]:
    """All tasks of that name, page by page."""
    found: list[Mapping[str, Any]] = []
    token = ""
    while True:
        page = client.list(page_size=100, page_token=token, name_prefix=name, view=view)
        found += [task.raw for task in page.tasks]
        token = page.next_page_token
        if not token:
            return found


def assert_one_story(task: Mapping[str, Any]) -> None:
    """Gap-free revs, and exactly one event that ends the task, the last one."""
    events = task["events"]
    assert [event["rev"] for event in events] == list(range(1, len(events) + 1))
    endings = [event for event in events if event["to"] in TERMINAL]
    assert endings == [events[-1]]
