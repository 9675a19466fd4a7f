"""The tasks that clients submit while faults happen: a seeded mix of all that the guarantees speak of."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from faults.witness import Witness

LOUD_BYTES = 200_000
KINDS: Mapping[str, int] = {
    "quick": 50, "long": 12, "stop": 12, "once": 8, "loud": 4, "fails": 4, "limited": 4, "compiled": 6,
}  # fmt: skip
"""How often each kind occurs among a hundred tasks."""
RETRYABLE = frozenset({"quick", "long", "stop", "loud", "compiled"})
"""Kinds that succeed unless their cluster fails them: 99 of 100 must."""
CANCELLED_OF_100 = 5


@dataclass(frozen=True, slots=True)
class Order:
    """One task to submit under `key`; cancel it `cancel_after_s` after it was accepted, if at all."""

    key: str
    body: Mapping[str, Any]
    cancel_after_s: float | None


class Workload:
    """An endless sequence of orders from a seed; `extra` goes into each task (constraints, for example).

    It begins with one of each kind, and one to be cancelled, so that no run is without them.
    `longest_s` bounds what one task takes, in seconds. `next` is for one thread at a time; any may order the
    rest meanwhile.
    """

    def __init__(
        self, witness: Witness, rng: random.Random, prefix: str, *, longest_s: float = 3.0, **extra: object
    ) -> None:
        self._witness = witness
        self._rng = rng
        self._prefix = prefix
        self._longest_s = longest_s
        self._extra = extra
        self._numbers = count(1)
        self._first = ["", *rng.sample(list(KINDS), len(KINDS))]

    def next(self) -> Order:
        """One more task; its name is its key, so that the store tells which key it came by."""
        rng, key = self._rng, self._key()
        if self._first:
            kind = self._first.pop()
            cancel = not self._first
        else:
            kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
            cancel = rng.random() * 100 < CANCELLED_OF_100
        if cancel:
            kind = rng.choice(("long", "stop", "once"))
        labels = {"kind": kind, **({"cancel": "yes"} if cancel else {})}
        body = {"name": key, "labels": labels, **self._extra, **self._of_kind(kind)}
        return Order(key, body, rng.uniform(0.0, 1.5) if cancel else None)

    def lasting(self, seconds: float, **more: object) -> Order:
        """A `stop` task before all others that takes so long and may run where `more` lets it."""
        key = self._key()
        stop = {"labels": {"kind": "stop"}, "on_disconnect": "stop", "priority": 100}
        body = {"name": key, **stop, **self._extra, **more}
        return Order(key, {**body, **self._execute(self._witness.lasting(seconds))}, None)

    def busy(self, seconds: int) -> Order:
        """A task before all others that takes a processor for so long."""
        key = self._key()
        body = {"name": key, "labels": {"kind": "long"}, "priority": 100, **self._extra}
        spins = f"while ((SECONDS < {seconds})); do for _ in {{1..20000}}; do :; done; say beat; done"
        return Order(key, {**body, **self._execute(spins)}, None)

    def urgent(self) -> Order:
        """A short task before all others, however many wait."""
        key = self._key()
        body = {"name": key, "labels": {"kind": "quick"}, "priority": 100, **self._extra}
        return Order(key, {**body, **self._execute("echo $KHALA_TASK_ID")}, None)

    def poison(self, place: str) -> Order:
        """A task for the executor with that label, before all others, which is to die of it."""
        key = self._key()
        body = {"name": key, "labels": {"kind": "poison"}, "priority": 100, "constraints": {"place": place}}
        return Order(key, {**body, **self._execute("sleep 30")}, None)

    def _key(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"

    def _of_kind(self, kind: str) -> Mapping[str, Any]:
        rng, witness = self._rng, self._witness
        brief = f"sleep {rng.uniform(0.02, 0.3):.3f}; echo $KHALA_TASK_ID"
        lasting = witness.lasting(rng.uniform(1.0, self._longest_s)) + "; echo $KHALA_TASK_ID"
        match kind:
            case "long":
                return self._execute(lasting)
            case "stop":
                return {**self._execute(lasting), "on_disconnect": "stop"}
            case "once":
                return {**self._execute(lasting), "retry": {"max_attempts": 1}}
            case "loud":
                return self._execute(f"head -c {LOUD_BYTES} /dev/zero | tr '\\0' x")
            case "fails":
                return self._execute(f"{brief}; say ended; exit 3")
            case "limited":
                return self._execute("(sleep 60) & sleep 60", limits={"wall_time": 0.5})
            case "compiled":
                return {"compile": {"command": "echo built > made"}, **self._execute(f"cat made; {brief}")}
            case _:
                return self._execute(brief)

    def _execute(self, body: str, **more: object) -> Mapping[str, Any]:
        return {"execute": {"command": self._witness.command(body), **more}}
