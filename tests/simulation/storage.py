"""The store as the judicators see it: the in-memory twin, with its troubles, its delays and a witness.

A call leaves its node, is done at the store, and is answered to its node; between these three moments
anything may happen to the node. What is really written is recorded, whatever the caller is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from history.records import EpochTaken, OutputSettled, StoreRestored, TaskChanged, TaskInserted

from khala.core.output import OutputChunk, stored_streams
from khala.core.task import Epoch, Task
from khala.errors import Fault, OutcomeUnknown, Refusal, Unavailable
from khala.store.memory import MemoryBackup, MemoryStore
from khala.store.memory_calls import StoreFault

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.world import World

TIMEOUT_S = 2.0
WRITES = frozenset({"insert", "take_epoch", "commit", "request_cancel", "amend", "put_output"})


class Storage:
    """The one store of a world. `unknown` and `away` are how ill it is now."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clockwork = world.clockwork
        self.unknown = 0.0
        self.away = False
        self._next: StoreFault | None = None
        self._life = 0
        self.memory = MemoryStore(faults=self._trouble, record_history=True)
        self.memory.prepare()

    def call(self, node: Node, method: str, args: tuple[Any, ...], reply: Callable[[Any], None]) -> None:
        """Ask for one method; `reply` gets its answer or the KhalaError that it raised."""
        delay_s = self.clockwork.between(0.0, 0.002)
        node.post(delay_s, self._leave, self._life, node, method, args, reply)

    def _leave(self, store_life: int, node: Node, method: str, args: tuple[Any, ...], reply: Any) -> None:
        delay_s = self.clockwork.between(0.001, 0.004)
        self.clockwork.after(delay_s, self._done, store_life, node, node.life, method, args, reply)

    def _done(
        self, store_life: int, node: Node, life: int, method: str, args: tuple[Any, ...], reply: Any
    ) -> None:
        if store_life != self._life:
            return
        network = self.world.network
        answer: Any
        delay_s = self.clockwork.between(0.001, 0.004)
        if not network.reaches(node.name, "store"):
            answer, delay_s = OutcomeUnknown("no answer"), TIMEOUT_S
        else:
            answer = self._try(method, args)
            if not network.reaches("store", node.name):
                answer, delay_s = OutcomeUnknown("no answer"), TIMEOUT_S
        if isinstance(answer, Unavailable) and method not in WRITES:
            answer = Unavailable("cannot read now")
        if node.life == life:
            node.post(delay_s, reply, answer)

    def _try(self, method: str, args: tuple[Any, ...]) -> Any:
        self._next = None
        if self.away:
            self._next = StoreFault.UNAVAILABLE
        elif method in WRITES and self.clockwork.chance(self.unknown):
            self._next = self._choose_unknown(method, args)
        try:
            answer = self.perform(method, args)
        except (Unavailable, Fault) as error:
            answer = error
        if self._next is not None:
            self.world.happened(f"store {self._next}")
        self._next = None
        self._witness(method, args, answer)
        return answer

    def perform(self, method: str, args: tuple[Any, ...]) -> Any:
        """Do it; the place where a test takes a rule of the store away."""
        if method == "amend":
            return self.memory.amend(*args[:-1], priority=args[-1])
        if method == "put_output":
            return self.put(*args)
        return getattr(self.memory, method)(*args)

    def put(self, chunk: OutputChunk, epoch: Epoch) -> int | Refusal:
        """As a judicator's `outputs` does it: what another generation gave is refused (P4)."""
        if not epoch.shares_generation(Epoch(self.memory.generation())):
            self.world.happened("output of a lost generation refused")
            return Refusal("of another generation")
        return self.memory.put_output([chunk])[0]

    def restore(self, backup: MemoryBackup) -> None:
        """Be as the backup is, in a new generation; what is on its way to the old servers is lost."""
        self.recover()
        self._life += 1
        generation = self.memory.restore(backup)
        ever = tuple(self.world.checker.tasks.submitted)
        stored = {task.id: task.control for task in self.memory.read(ever, "minimal")}
        self.world.inserted = set(stored)
        self.world.record(StoreRestored(self.clockwork.now_s, generation, backup.generation, stored))
        for client in self.world.clients:
            client.submit_again(stored)

    def recover(self) -> None:
        """Be well again."""
        self.unknown, self.away, self._next = 0.0, False, None

    def read(self, task_id: str) -> Task | None:
        """A look at the truth, which never fails and costs no time."""
        self._next = None
        found = self.memory.read((task_id,))
        return found[0] if found else None

    def _choose_unknown(self, method: str, args: tuple[Any, ...]) -> StoreFault:
        if self.clockwork.chance(0.2):
            self.world.happened("store applied late")
            self.clockwork.after(self.clockwork.between(0.05, 1.5), self._late, self._life, method, args)
            return StoreFault.UNKNOWN_NOT_APPLIED
        if self.clockwork.chance(0.5):
            return StoreFault.UNKNOWN_APPLIED
        return StoreFault.UNKNOWN_NOT_APPLIED

    def _late(self, store_life: int, method: str, args: tuple[Any, ...]) -> None:
        if store_life != self._life:
            return
        self._next = None
        try:
            answer = self.perform(method, args)
        except (Unavailable, Fault) as error:
            answer = error
        self._witness(method, args, answer)

    def _trouble(self, method: str) -> StoreFault | None:
        return self._next

    def _witness(self, method: str, args: tuple[Any, ...], answer: Any) -> None:
        """Record what is stored now and was not before."""
        record, now_s = self.world.record, self.clockwork.now_s
        if method == "take_epoch" and self.memory.holder != "":
            self._witness_epoch(args[0])
        guard = args[0] if method == "commit" else None
        if method == "insert":
            for task in args[0]:
                if task.id not in self.world.inserted and (stored := self.read(task.id)) is not None:
                    self.world.inserted.add(task.id)
                    spec = task.spec
                    record(
                        TaskInserted(
                            now_s, task.id, spec.name, spec.max_attempts, spec.on_disconnect, stored.control
                        )
                    )
        for _, task_id, event in self.memory.history:
            task = self.read(task_id)
            if task is not None:
                record(TaskChanged(now_s, task_id, guard, task.control, event))
                if event.kind == "ended":
                    self._witness_output(task)
        self.memory.history.clear()

    def _witness_output(self, task: Task) -> None:
        for key, capture in stored_streams(task.id, task.control.attempt, task.result).items():
            stored = bytes(self.memory._outputs.get(key, b""))
            self.world.record(OutputSettled(self.clockwork.now_s, key, capture, stored))

    def _witness_epoch(self, holder: str) -> None:
        """Look inside: who was told "unknown" may hold the epoch all the same."""
        epoch = self.memory._epoch
        if epoch != self.world.epoch:
            self.world.epoch = epoch
            self.world.record(EpochTaken(self.clockwork.now_s, epoch, holder))
