"""One simulated cluster, from its seed: who is in it, what is asked of it, what goes wrong, and the end.

After the faults everything is healed, and the world runs until all is at rest, or too long (I20).
Every record is judged as it is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from history.checker import Checker
from history.records import Record
from history.violation import Violation
from simulation import workload
from simulation.client import Client
from simulation.clockwork import BEGIN_S, Clockwork
from simulation.coordination import Coordination
from simulation.executor import Executor
from simulation.faults import FAULTS
from simulation.judicator import Judicator
from simulation.leading import Leading
from simulation.network import Network, Weather
from simulation.node import Node
from simulation.storage import Storage

from khala.core.execution.holdings import Capacity
from khala.core.execution.machine import ExecutorMachine
from khala.core.task import TERMINAL, Epoch, TaskSpec

FAULTS_END_S = 18.0
BOUND_S = 120.0
REST_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a world is made of; a test that takes a rule away puts its own part here."""

    storage: type[Storage] = Storage
    leading: type[Leading] = Leading
    executor: type[Executor] = Executor
    judicator: type[Judicator] = Judicator
    machine: type[ExecutorMachine] = ExecutorMachine


class World:
    """Everything of one seed. `telling` keeps the story."""

    def __init__(self, seed: int, *, parts: Parts | None = None, telling: bool = False) -> None:
        self.parts = parts or Parts()
        self._named = 0
        self.seed = seed
        self.clockwork = Clockwork(seed)
        self.checker = Checker()
        self.faults: Counter[str] = Counter()
        self.told: list[str] = []
        self.telling = telling
        self.inserted: set[str] = set()
        self.epoch = Epoch()
        self.healed_at_s: float | None = None
        self._armed: dict[str, list[Callable[[Node], None]]] = {}
        self.network = Network(self.clockwork, self.story, self.happened)
        self.storage = self.parts.storage(self)
        self.coordination = Coordination(self)
        rng = self.clockwork.rng
        self.judicators = [self._judicator() for _ in range(rng.choice((1, 2, 3, 3)))]
        offers = workload.capacities(self.clockwork, rng.choice((2, 2, 3, 4)))
        self.executors = [self._executor(offer) for offer in offers]
        self.clients = [Client(self, f"c{n}") for n in range(2)]
        for node in (self.coordination, *self.judicators, *self.executors, *self.clients):
            self._enter(node)
        self.habit = workload.habit(self.clockwork)
        self._plan_work()
        self._plan_faults()

    # --- who is in it ----------------------------------------------------------------------------

    def _judicator(self) -> Judicator:
        self._named += 1
        return self.parts.judicator(self, f"j{self._named}")

    def _executor(self, offer: tuple[Capacity, dict[str, str]]) -> Executor:
        self._named += 1
        return self.parts.executor(self, f"e{self._named}", *offer)

    def _enter(self, node: Node) -> None:
        self.network.nodes[node.name] = node
        self.clockwork.after(self.clockwork.between(0.0, 0.5), node.boot)

    def join_judicator(self) -> None:
        """One more of them, from now on."""
        self.judicators.append(self._judicator())
        self._enter(self.judicators[-1])

    def join_executor(self) -> None:
        """One more of them, of any size."""
        self.executors.append(self._executor(workload.capacities(self.clockwork, 2)[1]))
        self._enter(self.executors[-1])

    def leave(self, node: Executor | Judicator) -> None:
        """It is gone for good; whoever still speaks to it speaks to nobody."""
        node.gone = True
        if isinstance(node, Executor):
            self.executors.remove(node)
        else:
            self.judicators.remove(node)

    # --- the plan --------------------------------------------------------------------------------

    def _plan_work(self) -> None:
        rng = self.clockwork.rng
        for number in range(rng.randint(8, 30)):
            at_s = self.clockwork.between(0.5, FAULTS_END_S - 4.0) if number % 3 else rng.choice((0.6, 6.0))
            task = workload.make_task(self.clockwork, self.habit, number + 1, BEGIN_S + at_s)
            cancel_after_s = self.clockwork.between(0.0, 4.0) if self.clockwork.chance(0.2) else None
            rng.choice(self.clients).submit_later(at_s, task, cancel_after_s)

    def _plan_faults(self) -> None:
        rng = self.clockwork.rng
        for _ in range(rng.choice((0, 2, 3, 4, 5, 6, 8))):
            fault = rng.choice(FAULTS)
            lasts_s = self.clockwork.between(0.5, 7.0)
            self.clockwork.after(
                self.clockwork.between(1.0, FAULTS_END_S - 3.0), self._strike, fault, lasts_s
            )
        self.clockwork.after(FAULTS_END_S, self._heal)

    def _strike(self, fault: Callable[[World, float], None], lasts_s: float) -> None:
        self.happened(fault.__name__)
        fault(self, lasts_s)

    def _heal(self) -> None:
        self.story("everything is healed")
        self.healed_at_s = self.clockwork.now_s
        self._armed.clear()
        self.network.heal()
        self.storage.recover()
        if self.coordination.away:
            self.coordination.return_with(extended=False)
        for node in (*self.judicators, *self.executors):
            node.resume()
            node.boot()

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Until all is at rest; raises Violation."""
        clockwork, look_at_s = self.clockwork, 0.0
        while True:
            clockwork.step()
            if self.healed_at_s is None or clockwork.now_s < look_at_s:
                continue
            look_at_s = clockwork.now_s + REST_LOOK_S
            if self._at_rest():
                break
            if clockwork.now_s > self.healed_at_s + BOUND_S:
                raise Violation("I20", self._unrest())
        self.storage.recover()
        self.checker.at_rest(self.storage.memory.counts())

    def _at_rest(self) -> bool:
        stored = self.checker.tasks.stored.values()
        return (
            all(client.done for client in self.clients)
            and all(control.state in TERMINAL for control in stored)
            and all(each.up and each.machine and not each.machine.busy for each in self.executors)
        )

    def _unrest(self) -> str:
        stored = self.checker.tasks.stored.items()
        tasks = [f"{task_id}: {control}" for task_id, control in stored if control.state not in TERMINAL]
        asked = [str(question) for client in self.clients for question in client.waiting]
        busy = [each.name for each in self.executors if not each.machine or each.machine.busy]
        return f"still not at rest {BOUND_S} s after healing: {tasks} {asked} {busy}"

    # --- what its parts ask of it ----------------------------------------------------------------

    def record(self, record: Record) -> None:
        """Judge what has happened."""
        if self.telling:
            self.story("    {}", record)
        self.checker.take(record)

    def story(self, text: str, *details: object) -> None:
        """One line of the story, if somebody listens."""
        if self.telling:
            self.told.append(f"{self.clockwork.now_s - BEGIN_S:9.4f} {text.format(*details)}")

    def happened(self, what: str) -> None:
        """Count a kind of event."""
        self.faults[what] += 1
        self.story("*** {}", what)

    def any_judicator(self) -> str:
        """The one that a client tries next."""
        return self.clockwork.rng.choice(self.judicators).name

    def leader(self) -> Judicator | None:
        """Who leads, by its own word."""
        return next((each for each in self.judicators if each.up and each.leading is not None), None)

    def duration_s(self, spec: TaskSpec) -> float:
        """How long the next attempt of such a task runs."""
        return workload.duration_s(self.clockwork, self.habit, spec)

    def clear_weather(self, weather: Weather) -> None:
        """End this weather, if it is still that."""
        if self.network.weather is weather:
            self.network.weather = Weather()

    def arm(self, point: str, strike: Callable[[Node], None]) -> None:
        """Strike the first node that comes to this point."""
        self._armed.setdefault(point, []).append(strike)

    def reached(self, point: str, node: Node) -> None:
        """A node is between two steps: decided, saved or journalled."""
        strikes = self._armed.get(point)
        if strikes:
            self.happened(f"struck when {point}")
            strikes.pop()(node)
