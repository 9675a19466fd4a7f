"""Who does the damage in a long run: seeded faults, one after the other, as a schedule that can be replayed.

`schedule` is pure: the same seed, length and size give the same faults at the same times, on victims
named by a number, which stands for whoever has that part at that moment.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from faults import victims
from faults.trial import Trial
from psutil import Process

QUIET_S = 20.0
"""Between two faults there is a pause of up to this."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """At `at_s` seconds of the run do `fault` to whom `choice` (0 … 1) picks, for `lasts_s` seconds."""

    at_s: float
    fault: str
    choice: float
    lasts_s: float


class Nemesis:
    """Performs strokes on a trial's cluster. `words` is what `khala up` was given."""

    def __init__(self, trial: Trial, words: Sequence[str]) -> None:
        self._trial = trial
        self._words = words
        self._pause = threading.Event()

    def wait(self, seconds: float) -> None:
        """Let the load go on alone for so long."""
        self._pause.wait(max(0.0, seconds))

    def strike(self, stroke: Stroke) -> None:
        """Do it, and undo it."""
        FAULTS[stroke.fault](self, stroke)

    def kill_executor(self, stroke: Stroke) -> None:
        """kill -9 while something runs on it."""
        name = self._busy_executor(stroke)
        with self._trial.fault(stroke.fault, name, name):
            victims.kill(self._role(name))

    def stop_executor(self, stroke: Stroke) -> None:
        """SIGSTOP, maybe past its lease."""
        name = self._busy_executor(stroke)
        with self._trial.fault(stroke.fault, name, name), victims.frozen(self._role(name)):
            self.wait(stroke.lasts_s)

    def drain_executor(self, stroke: Stroke) -> None:
        """SIGTERM; its successor follows."""
        name = self._busy_executor(stroke)
        with self._trial.fault(stroke.fault, name, name):
            self._role(name).terminate()

    def kill_gateway(self, stroke: Stroke) -> None:
        """kill -9 in the middle of submits."""
        name = self._pick("gateway", stroke)
        with self._trial.fault(stroke.fault, name):
            victims.kill(self._role(name))

    def stop_gateway(self, stroke: Stroke) -> None:
        """SIGSTOP."""
        name = self._pick("gateway", stroke)
        with self._trial.fault(stroke.fault, name), victims.frozen(self._role(name)):
            self.wait(stroke.lasts_s)

    def kill_leader(self, stroke: Stroke) -> None:
        """kill -9 of the leading judicator."""
        name = victims.leader(self._trial)
        with self._trial.fault(stroke.fault, name):
            victims.kill(self._role(name))

    def kill_judicator(self, stroke: Stroke) -> None:
        """kill -9 of any judicator."""
        name = self._pick("judicator", stroke)
        with self._trial.fault(stroke.fault, name):
            victims.kill(self._role(name))

    def stop_leader(self, stroke: Stroke) -> None:
        """SIGSTOP of the leading judicator, maybe past its time."""
        name = victims.leader(self._trial)
        with self._trial.fault(stroke.fault, name), victims.frozen(self._role(name)):
            self.wait(stroke.lasts_s)

    def kill_primary(self, stroke: Stroke) -> None:
        """kill -9 of the primary mongod."""
        name = victims.primary(self._trial)
        with self._trial.fault(stroke.fault, name):
            victims.kill(victims.native(self._trial.cluster, name, "mongod"))

    def stop_primary(self, stroke: Stroke) -> None:
        """SIGSTOP of the primary mongod."""
        name = victims.primary(self._trial)
        server = victims.native(self._trial.cluster, name, "mongod")
        with self._trial.fault(stroke.fault, name), victims.frozen(server):
            self.wait(stroke.lasts_s)

    def kill_etcd(self, stroke: Stroke) -> None:
        """kill -9 of etcd's leader."""
        name = victims.etcd_leader(self._trial.cluster)
        with self._trial.fault(stroke.fault, name):
            victims.kill(victims.native(self._trial.cluster, name, "etcd"))

    def kill_all_three(self, stroke: Stroke) -> None:
        """kill -9 of all of one judicator at once."""
        name = self._pick("judicator", stroke)
        servers = [victims.native(self._trial.cluster, name, kind) for kind in victims.NATIVE]
        with self._trial.fault(stroke.fault, name):
            victims.kill(self._role(name), *servers)

    def kill_everything(self, stroke: Stroke) -> None:
        """A power cut, and `khala up` again."""
        with self._trial.fault(stroke.fault, "all"):
            victims.kill_everything(self._trial.cluster)
            victims.up_again(self._trial.cluster, *self._words)

    def _role(self, name: str) -> Process:
        return victims.role(self._trial.cluster, name)

    def _pick(self, role: str, stroke: Stroke) -> str:
        names = victims.roles(self._trial.cluster, role)
        return names[int(stroke.choice * len(names))]

    def _busy_executor(self, stroke: Stroke) -> str:
        """The picked one; a fault shall hit something that runs, so wait for that a little."""
        name = self._pick("executor", stroke)
        with suppress(AssertionError):
            self._trial.wait_running(name)
        return name


FAULTS: Mapping[str, Callable[[Nemesis, Stroke], None]] = {
    each.__name__: each
    for each in (
        Nemesis.kill_executor, Nemesis.stop_executor, Nemesis.drain_executor, Nemesis.kill_gateway,
        Nemesis.stop_gateway, Nemesis.kill_leader, Nemesis.kill_judicator, Nemesis.stop_leader,
        Nemesis.kill_primary, Nemesis.stop_primary, Nemesis.kill_etcd, Nemesis.kill_all_three,
        Nemesis.kill_everything,
    )
}  # fmt: skip


def schedule(seed: int, length_s: float) -> list[Stroke]:
    """Every fault once in each round, in an order of its own; rounds until the time is up."""
    rng = random.Random(seed)
    strokes: list[Stroke] = []
    at_s = 0.0
    while True:
        for fault in rng.sample(list(FAULTS), len(FAULTS)):
            at_s += rng.choice((0.5, rng.uniform(1.0, 5.0), rng.uniform(5.0, QUIET_S)))
            lasts_s = rng.uniform(0.5, 14.0)
            if at_s + lasts_s > length_s:
                return strokes
            strokes.append(Stroke(round(at_s, 3), fault, round(rng.random(), 6), round(lasts_s, 3)))
            at_s += lasts_s if fault.startswith("stop") else 0.0
