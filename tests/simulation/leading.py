"""One simulated leadership: the scheduler's decisions of an epoch, behind a group-commit writer.

Saves gather while a write is in flight; each batch is guarded by the epoch. It ends when its judicator
forgets it; answers that come later find it `over`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.coordination import EXECUTOR_LEASE_S

from khala.core.changes import Change
from khala.core.effects import Effect, LookUp, Reread, Save, Send
from khala.core.messages import AssignTask
from khala.core.scheduling.scheduler import Scheduler
from khala.core.task import Epoch
from khala.errors import KhalaError, StaleEpoch

if TYPE_CHECKING:
    from simulation.judicator import Judicator

RESCAN_S = 1.0
MOST = 1_000


class Leading:
    """Leads from the moment at which the epoch was taken."""

    def __init__(self, judicator: Judicator, epoch: Epoch) -> None:
        self.judicator = judicator
        self.world = judicator.world
        self.epoch = epoch
        self.scheduler = Scheduler(
            epoch=epoch, leader=judicator.name, lease_s=EXECUTOR_LEASE_S, at=judicator.at()
        )
        self.rebuilt = False
        self.members: dict[str, str] = {}
        self.scanned_at_s = float("-inf")
        self._waiting: list[Change] = []
        self._writing = False
        self._call("scan_active", ("", MOST), self._active_scanned)

    def over(self) -> bool:
        """Has the judicator given it up, or does its own clock say so? Then it is given up for good."""
        if self.judicator.leading is not self:
            return True
        if not self.judicator.may_lead():
            self.judicator.leading = None
            return True
        return False

    def handle(self, message: object) -> None:
        """A message for the scheduler."""
        self._perform(self.scheduler.handle(message, self.judicator.at()))

    def members_seen(self, executors: dict[str, str], *, gap: bool) -> None:
        """Coordination's view."""
        self.members = executors
        if self.rebuilt:
            self._perform(self.scheduler.members_seen(executors, self.judicator.at(), gap=gap))

    def tick(self) -> None:
        """Time has passed."""
        if not self.rebuilt:
            self._call("scan_active", ("", MOST), self._active_scanned)
            return
        self._perform(self.scheduler.tick(self.judicator.at()))
        if self.judicator.clock_s() - self.scanned_at_s >= RESCAN_S:
            self.scanned_at_s = self.judicator.clock_s()
            self.rescan()

    def rescan(self) -> None:
        """P3: look for pending and cancel-requested tasks that nobody hinted at."""
        self._call("scan_queue", ((0.0, ""), MOST), self._rebuild)
        self._call("scan_cancels", (MOST,), self._rebuild)

    def _active_scanned(self, tasks: Any) -> None:
        if not isinstance(tasks, KhalaError) and not self.rebuilt:
            self.rebuilt = True
            self._perform(self.scheduler.rebuild(tasks, self.judicator.at()))
            self._perform(self.scheduler.members_seen(self.members, self.judicator.at()))
            Leading.rescan(self)

    def _rebuild(self, tasks: Any) -> None:
        if not isinstance(tasks, KhalaError):
            self._perform(self.scheduler.rebuild(tasks, self.judicator.at()))

    def _call(self, method: str, args: tuple[Any, ...], reply: Any) -> None:
        def answered(answer: Any) -> None:
            if not self.over():
                reply(answer)

        self.world.storage.call(self.judicator, method, args, answered)

    def _perform(self, effects: list[Effect]) -> None:
        self._act(effects)
        if self.rebuilt and not self.over():
            self._act(self.scheduler.assign(self.judicator.at()))

    def _act(self, effects: list[Effect]) -> None:
        if self.over():
            return
        sends: list[Send] = []
        for effect in effects:
            match effect:
                case Send():
                    sends.append(effect)
                case Save(change):
                    self._waiting.append(change)
                case LookUp(task_ids):
                    self._call(
                        "standings", (task_ids,), lambda found, asked=task_ids: self._found(asked, found)
                    )
                case Reread(task_ids):
                    self._call("read", (task_ids,), lambda found, asked=task_ids: self._read(asked, found))
        if sends:
            self.judicator.post(self.world.clockwork.between(0.0001, 0.001), self._send, sends)
            if any(isinstance(send.message, AssignTask) for send in sends):
                self.world.reached("sending", self.judicator)
        if self._waiting and not self._writing:
            self._write()

    def _send(self, sends: list[Send]) -> None:
        """What was decided in time goes out, also when the node was stopped in between."""
        for send in sends:
            self.judicator.send(send.destination.partition("/")[0], send.message)

    def _write(self) -> None:
        batch, self._waiting, self._writing = self._waiting, [], True
        self.world.reached("decided", self.judicator)
        if self.judicator.up:
            self._call("commit", (self.epoch, batch), lambda answer: self._written(batch, answer))

    def _written(self, batch: list[Change], answer: Any) -> None:
        self._writing = False
        self.world.reached("saved", self.judicator)
        self.judicator.post(0.0, self._answered, batch, answer)

    def _answered(self, batch: list[Change], answer: Any) -> None:
        at = self.judicator.at()
        if self.over():
            return
        if isinstance(answer, StaleEpoch):
            self.judicator.resign()
        elif isinstance(answer, KhalaError):
            self._perform(self.scheduler.changes_unknown([change.task_id for change in batch], at))
        else:
            self._perform(self.scheduler.changes_answered(answer, at))
        if self._waiting and not self._writing and not self.over():
            self._write()

    def _read(self, asked: tuple[str, ...], found: Any) -> None:
        if not isinstance(found, KhalaError):
            self._perform(self.scheduler.tasks_read(asked, found, self.judicator.at()))

    def _found(self, asked: tuple[str, ...], found: Any) -> None:
        if not isinstance(found, KhalaError):
            self._perform(self.scheduler.looked_up(asked, found, self.judicator.at()))
