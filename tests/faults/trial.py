"""One cluster under load and faults, and the judgement of all that happened on it since it was made.

`begin` and `judge` may alternate: each judgement is of the whole history so far.
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
from cluster.conftest import LocalCluster
from faults.evidence import Verdict, assemble, verdict_of
from faults.journals import JournalKeeper
from faults.load import Load
from faults.oplog import writes
from faults.recording import Recorder, Struck, told
from faults.remains import remains
from faults.stored import settled, unix_s
from faults.witness import Witness
from faults.workload import Workload
from history.checker import check
from history.records import ExecutorOffered, Healed, OutputSettled, Record
from history.violation import Violation
from wait import wait_until

from khala.client import Client
from khala.errors import Unavailable

Task = Mapping[str, Any]
OVERLAP_MARGIN_S = 0.3
"""I10: a witness speaks every 0.2 s, so it may be silent that long before it is really over."""
GRACE_S = 30.0
"""I18: half of what a task takes that nobody ends at its limit."""
BOUND_S = 300.0
"""I20: never is wrong; the queue and its second attempts take a loaded machine some minutes."""
ASK_S, ASK_PAUSE_S, ASK_WITHIN_S = 12.0, 0.2, 300.0
HELD_S, HELD_MOST = 12.0, 6
REST_WITHIN_S = 400.0
STARTS_WITHIN_S = 300.0
"""A start is two seconds of processor time, which sixty other processes make a minute of."""
ACTIVE = ("pending", "assigned", "running")


class Trial:
    """`cluster` is up. What `extra` has goes into every task."""

    def __init__(
        self,
        cluster: LocalCluster,
        seed: int,
        *,
        rate: float = 6.0,
        longest_s: float = 3.0,
        **extra: object,
    ) -> None:
        self.cluster = cluster
        self.seed = seed
        self.recorder = Recorder()
        self.witness = Witness()
        record = cluster.record()
        others = [
            f"http://127.0.0.1:{port}"
            for name, port in sorted(record.ports.items())
            if name.startswith("gateway-") and name != "gateway-1"
        ]
        self.urls = [record.gateway, *others]
        self.workload = Workload(self.witness, random.Random(seed), f"t{seed}", longest_s=longest_s, **extra)
        self.load = Load(self.urls, record.token, self.recorder, self.workload, rate=rate)
        own = {e.name: cluster.directory / e.name for e in record.processes if e.role == "executor"}
        self.keeper = JournalKeeper(own)
        self._doors = {url: Client(url, record.token, patience_s=0.0, timeout_s=ASK_S) for url in self.urls}
        self._pause = threading.Event()
        self._offers: dict[str, ExecutorOffered] = {}
        self._long_outputs: dict[str, list[OutputSettled]] = {}
        what = "the leader to know every executor"
        wait_until(lambda: own.keys() <= self.look_at_executors(), timeout_s=STARTS_WITHIN_S, what=what)

    def close(self) -> None:
        """Stop all that this trial runs."""
        for door in self._doors.values():
            door.close()
        self.keeper.close()
        self.witness.close()

    # --- during the run --------------------------------------------------------------------------

    def ask(self, path: str, **query: str) -> Any:
        """GET through the first gateway that answers; Unavailable when none does for long."""
        deadline = time.monotonic() + ASK_WITHIN_S
        for door in cycle(self._doors.values()):
            try:
                return door.call("GET", f"/api/v1/{path}", query=query)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            self._pause.wait(ASK_PAUSE_S)
        raise AssertionError("there is no gateway")

    def look_at_executors(self) -> set[str]:
        """Learn what the executors offer, and say whose offer is known now; those that are gone are
        remembered, those without a report wait."""
        reported = [each for each in self.ask("executors")["executors"] if each["slots"]]
        for shown in reported:
            room = shown["resources"]
            self._offers[shown["id"]] = ExecutorOffered(
                0.0, shown["id"], shown["slots"], room["cpus"], room["memory"]
            )
        return {shown["id"] for shown in reported}

    def welcome(self, name: str, data_dir: Path) -> None:
        """Wait for a further executor, and take its journal as evidence."""
        self.keeper.data_dirs[name] = data_dir
        wait_until(
            lambda: name in self.look_at_executors(),
            timeout_s=STARTS_WITHIN_S,
            what=f"the leader to know {name}",
        )

    def wait_whole(self) -> None:
        """Until every judicator is back, and the cluster survives as many losses as it can."""

        def whole() -> bool:
            cluster = self.ask("cluster")
            assert cluster["ready"], cluster
            assert cluster["survives"] == (self.cluster.record().judicators - 1) // 2, cluster
            return True

        wait_until(whole, timeout_s=300, what="a whole cluster")

    def begin(self) -> None:
        """Load, until `judge`; returns when something runs."""
        self.load.begin()
        self.wait_running()

    def wait_running(self, *executors: str) -> None:
        """Until each of these executors (or any) runs an attempt."""

        def running() -> bool:
            busy = {each["id"] for each in self.ask("executors")["executors"] if each["running"]}
            return bool(busy) and busy >= set(executors)

        wait_until(running, timeout_s=300, what=f"running attempts on {executors or 'any executor'}")

    def hold(self, executor: str = "", lasts_s: float = HELD_S, **more: object) -> str:
        """Submit `stop` tasks (with `more` in them) that outlast a lease, until `executor` (or, if none is
        named, any) runs one; its id.

        What `wait_running` saw may have ended meanwhile; this goes on for seconds.
        """
        held: set[str] = set()

        def runs() -> str:
            held.difference_update([each for each in held if self._ended(each)])
            if len(held) < HELD_MOST:
                held.add(self.load.submit(self.workload.lasting(lasts_s, **more)))
            running = {e["id"]: e["running"] for e in self.ask("executors")["executors"]}
            places = [executor] if executor else list(running)
            return next((id for place in places for id in running.get(place, ()) if id in held), "")

        where = executor or "any executor"
        return wait_until(runs, timeout_s=STARTS_WITHIN_S, what=f"a long task on {where}")

    def _ended(self, task_id: str) -> bool:
        return self.ask(f"tasks/{task_id}")["state"] not in ACTIVE

    def wait_progress(self, count: int = 5) -> None:
        """Until `count` more submits are acknowledged, and a task that goes before all others has ended."""
        before, acknowledged = self.recorder.acknowledged(), self.recorder.acknowledged
        wait_until(lambda: acknowledged() >= before + count, timeout_s=300, what="acknowledged submits")
        task_id = self.load.submit(self.workload.urgent())
        wait_until(lambda: self._ended(task_id), timeout_s=300, what=f"the end of {task_id}")

    @staticmethod
    def now() -> float:
        """Unix seconds, as the history has them."""
        return time.time()

    @staticmethod
    def wait_past(at: float) -> None:
        """Until that time, in Unix seconds."""
        wait_until(lambda: time.time() > at, timeout_s=at - time.time() + 5)

    def losses(self) -> int:
        """How many attempts have been lost so far, by the stored tasks' stories."""
        return sum(event["kind"] == "lost" for task in self.tasks() for event in task["events"])

    @contextmanager
    def fault(self, kind: str, victim: str, *executors: str) -> Iterator[Struck]:
        """A fault that lasts as long as the block, on `executors` (or, if none are named, on all)."""
        names = executors or tuple(self.keeper.data_dirs)
        with self.recorder.fault(kind, victim, names) as struck:
            yield struck

    # --- the judgement ---------------------------------------------------------------------------

    def judge(self, *, bound_s: float = BOUND_S) -> Verdict:
        """All faults are over: finish the load, wait for rest, check the whole history. Raises Violation."""
        self.recorder.add(Healed(time.time()))
        self.load.finish()
        self.wait_rest()
        tasks, counts = self.tasks(), self._counts()
        history = self.history(tasks)
        left = self._remains(tasks)
        try:
            check([*history, *left], counts, margin_s=OVERLAP_MARGIN_S, grace_s=GRACE_S, bound_s=bound_s)
            verdict = verdict_of(tasks, history, self.recorder)
            verdict.require_work()
        except AssertionError as wrong:
            kept = self.keep(history, tasks, str(wrong))
            wrong.add_note(f"the history is kept in {kept}")
            raise
        return verdict

    def wait_rest(self) -> None:
        """Until every stored task has ended and every executor is idle."""

        def at_rest() -> bool:
            counts = self.ask("stats")["tasks"]
            assert not any(counts[state] for state in ACTIVE), counts
            executors = self.ask("executors")["executors"]
            assert not any(each["running"] or each["assigned"] for each in executors), executors
            return True

        try:
            wait_until(at_rest, timeout_s=REST_WITHIN_S, what="rest")
        except AssertionError as unrest:
            tasks = self.tasks()
            kept = self.keep(self.history(tasks), tasks, str(unrest))
            raise Violation("I20", f"{unrest}; the history is kept in {kept}") from unrest

    def _counts(self) -> Mapping[str, int]:
        """How many tasks are in each state, counted from now on: of many, a count is some seconds old."""
        since = time.time()

        def counted() -> Mapping[str, int] | None:
            stats = self.ask("stats")
            at = stats["counted_at"]
            fresh = not stats["at_least"] and (at is None or unix_s(at) >= since)
            return stats["tasks"] if fresh else None

        return wait_until(counted, timeout_s=ASK_WITHIN_S, what="a count of now")

    def tasks(self) -> list[Task]:
        """Every stored task, whole."""
        found: list[Task] = []
        token = ""
        while True:
            page = self.ask("tasks", page_size="100", view="full", **({"page_token": token} if token else {}))
            found += page["tasks"]
            token = page["next_page_token"] or ""
            if not token:
                return found

    def history(self, tasks: Sequence[Task]) -> list[Record]:
        """All records of clients, store, journals and processes, in the order of their times."""
        return assemble(
            tasks,
            self.recorder,
            [*self._offers.values(), *self.keeper.records(), *self._settled(tasks)],
            self.witness.runs(),
            writes(self.cluster),
        )

    def _settled(self, tasks: Sequence[Task]) -> list[Record]:
        """Long outputs, each fetched once: a finished task never changes."""
        for task in tasks:
            if task["id"] not in self._long_outputs:
                fetch = partial(self._fetch, task["id"])
                self._long_outputs[task["id"]] = list(settled(task, fetch))
        return [record for found in self._long_outputs.values() for record in found]

    def _fetch(self, task_id: str, path: str) -> bytes:
        """By the first gateway that answers: one may be on its way back."""
        headers = {"Authorization": f"Bearer {self.cluster.record().token}"}
        deadline = time.monotonic() + ASK_WITHIN_S
        for url in cycle(self.urls):
            try:
                answer = httpx.get(f"{url}/api/v1/tasks/{task_id}/{path}", headers=headers, timeout=60)
                return answer.raise_for_status().content
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
            self._pause.wait(ASK_PAUSE_S)
        raise AssertionError("there is no gateway")

    def _remains(self, tasks: Sequence[Task]) -> list[Record]:
        """What is left; the last workspace may go a moment after its outcome, and that of a killed executor
        when it is back."""
        ids = {task["id"] for task in tasks}
        found: list[Record] = []

        def nothing() -> bool:
            found[:] = remains(self.keeper.data_dirs, ids)
            return not found

        try:
            wait_until(nothing, timeout_s=STARTS_WITHIN_S)
        except AssertionError:
            return found
        return []

    def keep(self, history: Sequence[Record], tasks: Sequence[Task], why: str) -> Path:
        """Write all of it down, for whoever looks into a violation."""
        folder = Path(tempfile.mkdtemp(prefix=f"khala-history-{self.seed}-"))
        self.recorder.write_down(folder, [f"seed {self.seed}: {why}", *told(history)])
        (folder / "tasks.json").write_text(json.dumps(list(tasks), indent=1))
        (folder / "logs").write_text(self.cluster.logs())
        return folder
