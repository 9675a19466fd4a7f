"""Awake on the leader only: drives `khala.core.scheduling` for the length of an epoch.

Winning leadership, it takes an epoch from the store, rebuilds the queue from it and leads until its
own clock says that its lease may be over, a batch meets a newer leader, or coordination names
another. Then the core's state is thrown away; nothing is carried over.
"""

from __future__ import annotations

from enum import StrEnum

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import (
    ActiveScanned,
    ChangesAnswered,
    ChangesUnknown,
    CommitChange,
    EpochLost,
    EpochTaken,
    Flush,
    RereadTasks,
    ScanActive,
    ScanWaiting,
    TakeEpoch,
    TasksReread,
    Tick,
    ViewChanged,
    ViewWanted,
    WaitingScanned,
)
from khala.bus.envelope import Envelope
from khala.coordination.interface import Coordination
from khala.core.commands import ExecutorViews, ListExecutors, NotAvailable
from khala.core.effects import Effect, Reread, Save, Send, Settled
from khala.core.messages import (
    AttemptFinished,
    AttemptReturned,
    AttemptStarted,
    CancelsRequested,
    ExecutorReport,
    StartRequested,
    TasksQueued,
    TasksSettled,
)
from khala.core.scheduling.scheduler import Scheduler as Decisions
from khala.core.task import Epoch

RESCAN_S = 1.0
TAKE_EPOCH_AGAIN_S = 1.0


class Stand(StrEnum):
    """Where this node stands in leadership."""

    FOLLOWING = "following"
    TAKING_EPOCH = "taking_epoch"
    REBUILDING = "rebuilding"
    LEADING = "leading"


class Scheduler(NodeActor):
    """`lease_s` is what an executor's lease lasts at most: the grace of a new leader (P10)."""

    def __init__(self, stage: Stage, *, coordination: Coordination, lease_s: float) -> None:
        super().__init__(stage, "scheduler")
        self._coordination = coordination
        self._lease_s = lease_s
        self._stand = Stand.FOLLOWING
        self._decisions: Decisions | None = None
        self._epoch = Epoch()
        self._executors: dict[str, str] = {}
        self._judicators: tuple[str, ...] = ()
        self._asked_at = 0.0
        self._scanned_at = 0.0
        self._scan_after = (0.0, "")
        self._scanning = False
        self._first_pass = True
        self._assigning = False

    def begin(self) -> None:
        """A scheduler that was started again takes a new epoch (P4)."""
        self.tell("membership", ViewWanted())

    # --- leadership ------------------------------------------------------------------------------

    def handle_view_changed(self, seen: ViewChanged, envelope: Envelope) -> None:
        """Follow membership and leadership."""
        members = seen.view.members.values()
        self._executors = {m.name: m.incarnation for m in members if m.role == "executor"}
        self._judicators = tuple(m.name for m in members if m.role == "judicator")
        if not self._may_lead():
            self._follow("another judicator leads" if seen.view.leader else "nobody leads")
        elif self._stand == Stand.FOLLOWING:
            self._take_epoch()
        elif self._decisions is not None and seen.view.connected:
            self._perform(self._decisions.members_seen(self._executors, self.now(), gap=seen.gap))

    def _may_lead(self) -> bool:
        return self._coordination.leads_until() > self.now().boot_s

    def _take_epoch(self) -> None:
        self._stand = Stand.TAKING_EPOCH
        self._asked_at = self.now().boot_s
        self.tell("store-writer", TakeEpoch())

    def _follow(self, why: str) -> None:
        if self._stand != Stand.FOLLOWING:
            self.log.info("leads no more", epoch=self._epoch.number, why=why)
        self._stand = Stand.FOLLOWING
        self._decisions = None

    def handle_epoch_taken(self, taken: EpochTaken, envelope: Envelope) -> None:
        """The epoch is ours, if the lease still is (P4): rebuild."""
        if self._stand != Stand.TAKING_EPOCH or taken.epoch <= self._epoch:
            return
        self._epoch = taken.epoch
        if not self._may_lead():
            self._follow("the lease ran out while the epoch was taken")
            return
        self.log.info("leads", generation=taken.epoch.generation, epoch=taken.epoch.number)
        self._stand = Stand.REBUILDING
        self._scan_after, self._scanning, self._first_pass = (0.0, ""), False, True
        self._decisions = Decisions(
            epoch=taken.epoch, leader=self.stage.node, lease_s=self._lease_s, at=self.now()
        )
        self._asked_at = self.now().boot_s
        self.tell("scheduler-reader", ScanActive(taken.epoch, ""))

    def handle_active_scanned(self, scanned: ActiveScanned, envelope: Envelope) -> None:
        """A page of what was under way; after the last one, lead."""
        if self._decisions is None or scanned.epoch != self._epoch:
            return
        self._perform(self._decisions.rebuild(scanned.tasks, self.now()))
        self._asked_at = self.now().boot_s
        if not scanned.done:
            self.tell("scheduler-reader", ScanActive(self._epoch, scanned.tasks[-1].task_id))
            return
        self._stand = Stand.LEADING
        self._perform(self._decisions.members_seen(self._executors, self.now()))
        self._scan_waiting()

    def handle_epoch_lost(self, lost: EpochLost, envelope: Envelope) -> None:
        """A newer leader wrote: resign, and campaign again (P1)."""
        if lost.epoch == self._epoch and self._stand != Stand.FOLLOWING:
            self._follow("a newer leader has written")
            self._coordination.resign()
            self._coordination.campaign()

    # --- the core's events -----------------------------------------------------------------------

    def _leading(self) -> Decisions | None:
        """The decisions, while the node's own clock says that it leads."""
        if self._decisions is None:
            return None
        if not self._may_lead():
            self._follow("the lease ran out by this node's own clock")
            return None
        return self._decisions

    def _handle(self, message: object, envelope: Envelope) -> None:
        decisions = self._leading()
        if decisions is not None:
            self._perform(decisions.handle(message, self.now()))

    def handle_tasks_queued(self, queued: TasksQueued, envelope: Envelope) -> None:
        """A judicator stored tasks."""
        self._handle(queued, envelope)

    def handle_cancels_requested(self, cancels: CancelsRequested, envelope: Envelope) -> None:
        """A judicator stored cancel requests."""
        self._handle(cancels, envelope)

    def handle_executor_report(self, report: ExecutorReport, envelope: Envelope) -> None:
        """An executor says what it holds."""
        self._handle(report, envelope)

    def handle_attempt_started(self, said: AttemptStarted, envelope: Envelope) -> None:
        """An attempt runs."""
        self._handle(said, envelope)

    def handle_attempt_finished(self, said: AttemptFinished, envelope: Envelope) -> None:
        """An attempt ended."""
        self._handle(said, envelope)

    def handle_attempt_returned(self, said: AttemptReturned, envelope: Envelope) -> None:
        """An attempt will not start there."""
        self._handle(said, envelope)

    def handle_start_requested(self, said: StartRequested, envelope: Envelope) -> None:
        """A gated attempt asks to execute."""
        self._handle(said, envelope)

    def handle_changes_answered(self, answered: ChangesAnswered, envelope: Envelope) -> None:
        """The store's answers."""
        decisions = self._leading()
        if decisions is not None and answered.epoch == self._epoch:
            self._perform(decisions.changes_answered(answered.answers, self.now()))

    def handle_changes_unknown(self, unknown: ChangesUnknown, envelope: Envelope) -> None:
        """The store could not say."""
        self.log.warning("a batch's outcome is unknown", tasks=len(unknown.task_ids), why=unknown.reason)
        decisions = self._leading()
        if decisions is not None and unknown.epoch == self._epoch:
            self._perform(decisions.changes_unknown(unknown.task_ids, self.now()))

    def handle_tasks_reread(self, reread: TasksReread, envelope: Envelope) -> None:
        """A majority read."""
        decisions = self._leading()
        if decisions is not None and reread.epoch == self._epoch:
            self._perform(decisions.tasks_read(reread.asked, reread.found, self.now()))

    def handle_waiting_scanned(self, scanned: WaitingScanned, envelope: Envelope) -> None:
        """A page of the re-scan; the first pass of a leader goes on at once, later ones by the clock."""
        decisions = self._leading()
        if decisions is None or scanned.epoch != self._epoch:
            return
        self._scanning = False
        self._perform(decisions.rebuild([*scanned.tasks, *scanned.cancels], self.now()))
        if scanned.done:
            self._scan_after, self._first_pass = (0.0, ""), False
            return
        last = scanned.tasks[-1]
        self._scan_after = (last.demand.created_at, last.task_id)
        if self._first_pass:
            self._scan_waiting()

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Time has passed."""
        now = self.now().boot_s
        if self._stand == Stand.FOLLOWING:
            if self._may_lead():
                self._take_epoch()
            return
        if self._stand != Stand.LEADING and now - self._asked_at > TAKE_EPOCH_AGAIN_S:
            self._follow("the store did not answer in time")
            return
        decisions = self._leading()
        if decisions is not None and self._stand == Stand.LEADING:
            self._perform(decisions.tick(self.now()))
            if now - self._scanned_at >= RESCAN_S:
                self._scan_waiting()

    def _scan_waiting(self) -> None:
        """Re-scan the store (P3); an answer that never came is asked for again after a while."""
        now = self.now().boot_s
        if not self._scanning or now - self._scanned_at > 10 * RESCAN_S:
            self._scanning = True
            self._scanned_at = now
            self.tell("scheduler-reader", ScanWaiting(self._epoch, self._scan_after))

    # --- effects ---------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        settled: list[str] = []
        reread: list[str] = []
        for effect in effects:
            match effect:
                case Save(change):
                    self.tell("store-writer", CommitChange(self._epoch, change))
                case Send(destination, message):
                    self.send(destination, message)
                case Settled(task_ids):
                    settled += task_ids
                case Reread(task_ids):
                    reread += task_ids
                case _:
                    raise TypeError(f"a leader has no such effect: {effect!r}")
        if reread:
            self.tell("scheduler-reader", RereadTasks(self._epoch, tuple(dict.fromkeys(reread))))
        if settled:
            for judicator in self._judicators:
                self.send(f"{judicator}/judicator", TasksSettled(task_ids=tuple(settled)))
        if not self._assigning:
            self._assigning = True
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """The events at hand are handled: place what waits, once for all of them."""
        decisions = self._leading()
        if decisions is not None and self._stand == Stand.LEADING:
            self._perform(decisions.assign(self.now()))
        self._assigning = False

    # --- queries ---------------------------------------------------------------------------------

    def handle_list_executors(self, asked: ListExecutors, envelope: Envelope) -> None:
        """Which executors does the leader know?"""
        decisions = self._leading()
        answer: object
        if decisions is None or self._stand != Stand.LEADING:
            answer = NotAvailable(detail="a leader is being elected", retry_after_s=1.0)
        else:
            answer = ExecutorViews(executors=tuple(decisions.executors()))
        self.stage.bus.reply(envelope, answer)
