"""A cluster of containers under load, and the verdict: what was acknowledged is there, and ended once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from containers.engine import Engine
from faults.stored import told
from history.records import SubmitAcknowledged, Submitted, TaskChanged, TaskInserted
from history.tasks import TaskHistories
from wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
LOAD = (sys.executable, "-m", "containers.load")
FINISHED = {"succeeded", "failed", "cancelled"}


class Load:
    """Tasks submitted one after the other; `acknowledged` are the ids that it has printed by its end."""

    def __init__(self, engine: Engine, url: str, name: str, token: str) -> None:
        self._engine, self._url, self._name = engine, url, name
        self._variables = {"KHALA_TOKEN": token, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        self._printed = ""
        self._process = subprocess.Popen(
            engine.command(*LOAD, url, "submit", name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=engine.environment(self._variables),
        )

    @property
    def acknowledged(self) -> list[str]:
        """The ids, once the load has ended."""
        return self._printed.split()

    def tasks(self) -> list[Mapping[str, Any]]:
        """All stored tasks of this load."""
        shown = self._engine.run(
            *LOAD, self._url, "list", self._name, variables=self._variables, timeout_s=300
        )
        found: list[Mapping[str, Any]] = json.loads(shown.stdout)
        return found

    def counts(self) -> Mapping[str, int]:
        """How many tasks of the cluster are in each state; nothing while the gateway cannot tell."""
        token = self._variables["KHALA_TOKEN"]
        shown = ("-H", f"Authorization: Bearer {token}") if token else ()
        told = self._engine.run("curl", "-fsm", "30", *shown, f"{self._url}/api/v1/stats", check=False)
        found: Mapping[str, int] = json.loads(told.stdout)["tasks"] if told.returncode == 0 else {}
        return found

    def finished(self) -> int:
        """How many tasks of the cluster have ended."""
        return sum(count for state, count in self.counts().items() if state in FINISHED)

    def ended(self) -> bool:
        """Whether all of them have."""
        counts = self.counts()
        return bool(counts) and not any(counts[state] for state in counts if state not in FINISHED)

    def end(self) -> None:
        """Submit no more."""
        if self._process.poll() is None:
            self._printed, _ = self._process.communicate(timeout=600)
            assert self._process.returncode == 0

    def kill(self) -> None:
        """For a test that failed."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def load(engine: Engine, url: str, name: str, token: str = "") -> Iterator[Load]:
    """A load while the context lasts; then everything ends, and is judged."""
    running = Load(engine, url, name, token)
    try:
        yield running
        running.end()
        wait_until(running.ended, timeout_s=600, what="the end of every task")
        judge(running.acknowledged, running.tasks())
    finally:
        running.kill()


def judge(acknowledged: list[str], tasks: list[Mapping[str, Any]]) -> None:
    """By the checker: what was acknowledged is stored, each task's story is lawful and ended once. And each
    succeeded with its own output, though its attempts may be several."""
    names = {task["id"]: task["name"] for task in tasks}
    assert len(names) == len(tasks) > 0 and acknowledged
    histories = TaskHistories()
    for task in tasks:
        histories.submit_began(Submitted(0.0, task["id"], task["name"]))
        for record in told(task):
            if isinstance(record, TaskInserted):
                histories.inserted(record)
            elif isinstance(record, TaskChanged):
                histories.changed(record)
        assert task["state"] == "succeeded", task
        assert task["result"]["execute"]["stdout"]["head"] == f"{task['id']}\n", task
    for task_id in acknowledged:
        histories.submit_acknowledged(SubmitAcknowledged(0.0, task_id, names.get(task_id, "")))
    histories.at_rest(Counter(task["state"] for task in tasks))
