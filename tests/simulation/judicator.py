"""A simulated judicator: the front door, its part in leadership, and the road to the leader.

It steps down by its own clock; a judicator that is stopped notices nothing until it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulation.client import Accepted, Amend, AmendAccepted, Cancel, CancelAccepted, Submit
from simulation.coordination import LEADER_LEASE_S, Beat, View
from simulation.leading import Leading
from simulation.node import Node
from simulation.outputs import Put, PutAnswered

from khala.core.messages import CancelsRequested, QueuedTask, TasksQueued
from khala.core.task import TERMINAL, Epoch, Task, demand_of
from khala.errors import KhalaError, Unavailable

BEAT_S = 0.6
TICK_S = 0.4
CALL_TIMEOUT_S = 1.0
"""An answer of etcd that took longer is not waited for."""
GAP_S = 1.5
"""A judicator that heard nothing of etcd for so long has had a gap (P10)."""


class Judicator(Node):
    """One judicator; `leading` exists while it believes to lead."""

    leading: Leading | None = None

    def wake(self) -> None:
        """Start to beat and to tick."""
        self.leader = ""
        self.leads_until_s = 0.0
        self.asked_epoch_s = float("-inf")
        self.seen_at_s = self.clock_s()
        self.resigns = False
        self._beat()
        self._tick()

    def died(self) -> None:
        """What the process held in memory is gone."""
        self.leading = None

    def leave(self) -> None:
        """Give leadership up, say so to etcd, and be gone for good."""
        self.world.coordination.withdraw(self.name)
        self.crash()
        self.world.leave(self)

    def may_lead(self) -> bool:
        """Does this node's own clock say that its lease holds?"""
        return self.leads_until_s > self.clock_s()

    def resign(self) -> None:
        """A newer leader wrote: give leadership up, and campaign again."""
        self.world.happened("leader resigned")
        self.leading, self.leads_until_s, self.resigns = None, 0.0, True

    def receive(self, sender: str, message: object) -> None:
        """A client, etcd, an executor or another judicator says something."""
        match message:
            case View():
                self._viewed(message)
            case Submit(task=task):
                self._call("insert", ([task],), lambda said: self._stored(sender, task, said))
            case Cancel(task_id=task_id):
                args = ((task_id,), self.clockwork.now_s)
                self._call("request_cancel", args, lambda said: self._cancelled(sender, task_id, said))
            case Amend(task_id=task_id, priority=priority):
                change = (task_id, self.clockwork.now_s, f"priority {priority}", priority)
                self._call("amend", change, lambda said: self._amended(sender, task_id, said))
            case Put(number=number, chunk=chunk, epoch=epoch):
                self._call("put_output", (chunk, epoch), lambda said: self._put(sender, number, said))
            case _:
                self._for_leader(message)

    def _put(self, executor: str, number: int, said: Any) -> None:
        self.send(executor, PutAnswered(number, None if isinstance(said, Unavailable) else said))

    def _call(self, method: str, args: tuple[Any, ...], reply: Callable[[Any], None]) -> None:
        self.world.storage.call(self, method, args, reply)

    def _stored(self, client: str, task: Task, said: object) -> None:
        if not isinstance(said, KhalaError):
            self.send(client, Accepted(task.id, self._generation()))
            queued = QueuedTask(task_id=task.id, control=task.control, demand=demand_of(task))
            self._hint(TasksQueued(tasks=(queued,)))

    def _generation(self) -> int:
        """A judicator's life ends before its store's does, so it may ask when it answers."""
        return self.world.storage.memory.generation()

    def _amended(self, client: str, task_id: str, task: Task | KhalaError | None) -> None:
        if not isinstance(task, KhalaError):
            self.send(client, AmendAccepted(task_id))
            if task is not None and task.control.state not in TERMINAL:
                queued = QueuedTask(task_id=task.id, control=task.control, demand=demand_of(task))
                self._hint(TasksQueued(tasks=(queued,)))

    def _cancelled(self, client: str, task_id: str, said: Any) -> None:
        if not isinstance(said, KhalaError):
            self.send(client, CancelAccepted(task_id, self._generation(), found=bool(said)))
            for task in said:
                queued = QueuedTask(task_id=task.id, control=task.control, demand=demand_of(task))
                self._hint(CancelsRequested(tasks=(queued,)))

    def _hint(self, hint: object) -> None:
        if self.leader == self.name:
            self._for_leader(hint)
        elif self.leader:
            self.send(self.leader, hint)

    def _for_leader(self, message: object) -> None:
        if not self.may_lead():
            self.leading = None
        if self.leading is not None:
            self.leading.handle(message)

    def _beat(self) -> None:
        beat = Beat("judicator", str(self.life), self.clock_s(), not self.resigns, self.resigns)
        self.send("etcd", beat)
        self.resigns = False
        self.post(BEAT_S, self._beat)

    def _viewed(self, view: View) -> None:
        if self.clock_s() - view.sent_at_s > CALL_TIMEOUT_S:
            return
        gap = self.clock_s() - self.seen_at_s > GAP_S
        self.seen_at_s = self.clock_s()
        self.leader = view.leader
        if view.leader == self.name:
            self.leads_until_s = max(self.leads_until_s, view.sent_at_s + LEADER_LEASE_S)
        else:
            self.leads_until_s, self.leading = 0.0, None
        if self.may_lead() and self.leading is None:
            self._take_epoch()
        elif self.leading is not None:
            if gap:
                self.world.happened("leader saw a gap")
            self.leading.members_seen(view.executors, gap=gap)

    def _take_epoch(self) -> None:
        if self.clock_s() - self.asked_epoch_s > 1.0:
            self.asked_epoch_s = self.clock_s()
            self._call("take_epoch", (self.name,), self._epoch_taken)

    def _epoch_taken(self, epoch: Epoch | KhalaError) -> None:
        if isinstance(epoch, Epoch) and self.may_lead() and self.leading is None:
            self.world.happened("leader elected")
            self.leading = self.world.parts.leading(self, epoch)

    def _tick(self) -> None:
        if not self.may_lead():
            self.leading = None
        elif self.leading is None:
            self._take_epoch()
        else:
            self.leading.tick()
        self.post(TICK_S, self._tick)
