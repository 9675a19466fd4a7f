"""Awake on the leader only: drives `khala.core.scheduling` for the length of an epoch.

Winning leadership, it takes an epoch from the store, rebuilds the queue from it and leads until its
own clock says that its lease may be over, a batch meets a newer leader, the store writer lost what it
had in hand, or coordination names another. Then the core's state is thrown away; nothing is carried
over. It never waits: the store's answers come as messages, or the question is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from khala.actors.actor import NodeActor, Stage
from khala.actors.leader_messages import (
    ActiveScanned,
    ChangesAnswered,
    ChangesUnknown,
    CommitChanges,
    EpochLost,
    EpochNotTaken,
    EpochTaken,
    LeadingWith,
    LookUpTasks,
    ReadFailed,
    RereadTasks,
    ScanActive,
    ScanWaiting,
    TakeEpoch,
    TasksLookedUp,
    TasksReread,
    WaitingScanned,
)
from khala.actors.membership import CUT_OFF
from khala.actors.messages import Began, Flush, Tick, ViewChanged, ViewWanted
from khala.actors.rereads import Rereads
from khala.actors.store_reader import SCHEDULER_READER
from khala.actors.store_writer import STORE_WRITER
from khala.bus.envelope import Envelope
from khala.coordination.interface import Coordination
from khala.core.changes import Change
from khala.core.commands import ExecutorViews, ListExecutors, NotAvailable
from khala.core.effects import Effect, LookUp, Reread, Save, Send, Settled
from khala.core.messages import (
    AttemptFinished,
    AttemptReturned,
    AttemptStarted,
    CancelsRequested,
    ExecutorReport,
    LeaderAnnounced,
    StartRequested,
    TasksQueued,
    TasksSettled,
)
from khala.core.operations import GetMetrics, Metrics
from khala.core.scheduling.scheduler import Scheduler as Decisions
from khala.core.task import Epoch

RESCAN_S = 1.0
RETRY_S = 0.5
ANSWER_WITHIN_S = 15.0
"""Longer than the store's own limit for one call: an answer that is not there by then never comes."""


class Stand(StrEnum):
    """Where this node stands in leadership."""

    FOLLOWING = "following"
    TAKING_EPOCH = "taking_epoch"
    REBUILDING = "rebuilding"
    LEADING = "leading"


class Scheduler(NodeActor):
    """`lease_s` is what an executor's lease lasts at most: the grace of a new leader (P10)."""

    open_to_nodes = True

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
        self._ask_again_at = 0.0
        self._active_after = ""
        self._scan_after = (0.0, "")
        self._scanned_at = 0.0
        self._scan_again_at = 0.0
        self._first_pass = True
        self._rereads = Rereads(within_s=ANSWER_WITHIN_S)
        self._effects: list[Effect] = []
        self._flushing = False

    def begin(self) -> None:
        """A scheduler that was started again takes a new epoch (P4)."""
        self.tell("membership", ViewWanted())

    # --- leadership ------------------------------------------------------------------------------

    def handle_view_changed(self, seen: ViewChanged, envelope: Envelope) -> None:
        """Follow membership and leadership."""
        members = seen.view.members.values()
        executors = [m for m in members if m.role == "executor" and CUT_OFF not in m.details]
        self._executors = {m.name: m.incarnation for m in executors}
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
        self._ask_again_at = self._asked_at + ANSWER_WITHIN_S
        self.tell(STORE_WRITER, TakeEpoch(self._asked_at))

    def _follow(self, why: str) -> None:
        if self._stand != Stand.FOLLOWING:
            self.log.info("leads no more", epoch=self._epoch.number, why=why)
            self._tell_epoch(Epoch())
        self._stand = Stand.FOLLOWING
        self._decisions = None
        self._effects = []

    def handle_epoch_taken(self, taken: EpochTaken, envelope: Envelope) -> None:
        """The epoch is ours, if the lease still is (P4): rebuild. The answer to an earlier question
        is an epoch that the answer to the later one ends."""
        if self._stand != Stand.TAKING_EPOCH or taken.asked_at != self._asked_at:
            return
        if not self._may_lead():
            self._follow("the lease ran out while the epoch was taken")
            return
        self.log.info("leads", generation=taken.epoch.generation, epoch=taken.epoch.number)
        self._epoch = taken.epoch
        self._stand = Stand.REBUILDING
        self._active_after, self._scan_after, self._first_pass = "", (0.0, ""), True
        self._rereads = Rereads(within_s=ANSWER_WITHIN_S)
        self._decisions = Decisions(
            epoch=taken.epoch, leader=self.stage.node, lease_s=self._lease_s, at=self.now()
        )
        self._scan_active()

    def handle_epoch_not_taken(self, answer: EpochNotTaken, envelope: Envelope) -> None:
        """Ask again soon."""
        if self._stand == Stand.TAKING_EPOCH and answer.asked_at == self._asked_at:
            self.log.warning("no epoch", reason=answer.reason)
            self._ask_again_at = self.now().boot_s + RETRY_S

    def _scan_active(self) -> None:
        self._ask_again_at = self.now().boot_s + ANSWER_WITHIN_S
        self.tell(SCHEDULER_READER, ScanActive(self._epoch, self._active_after))

    def handle_active_scanned(self, scanned: ActiveScanned, envelope: Envelope) -> None:
        """A page of what was under way; after the last one, lead."""
        decisions = self._leading(scanned.epoch)
        if decisions is None or self._stand != Stand.REBUILDING or scanned.after != self._active_after:
            return
        decisions.limits_seen(scanned.limits)
        self._perform(decisions.rebuild(scanned.tasks, self.now()))
        if not scanned.done:
            self._active_after = scanned.tasks[-1].task_id
            self._scan_active()
            return
        self._stand = Stand.LEADING
        self._perform(decisions.members_seen(self._executors, self.now()))
        self._scan_waiting()

    def handle_epoch_lost(self, lost: EpochLost, envelope: Envelope) -> None:
        """A newer leader wrote: resign, and campaign again (P1)."""
        if lost.epoch == self._epoch and self._stand in (Stand.REBUILDING, Stand.LEADING):
            self._follow("a newer leader has written")
            self._coordination.resign()
            self._coordination.campaign()

    def handle_began(self, began: Began, envelope: Envelope) -> None:
        """A new writer does not know what became of the changes that the old one had in hand: start
        anew from what is stored. A new reader never got the questions of the old one."""
        if began.actor == STORE_WRITER:
            self._follow("the store writer was started again")
        else:
            self._ask_again_at = self._scan_again_at = 0.0
            self._rereads.failed(0.0)

    # --- the core's events -----------------------------------------------------------------------

    def _leading(self, epoch: Epoch | None = None) -> Decisions | None:
        """The decisions, while the node's own clock says that it leads; with `epoch`, only if it is
        still this one."""
        if self._decisions is None or epoch not in (None, self._epoch):
            return None
        if not self._may_lead():
            self._follow("the lease ran out by this node's own clock")
            return None
        return self._decisions

    def _handle(self, message: object) -> None:
        decisions = self._leading()
        if decisions is not None:
            self._perform(decisions.handle(message, self.now()))

    def handle_tasks_queued(self, queued: TasksQueued, envelope: Envelope) -> None:
        """A judicator stored tasks."""
        self._handle(queued)

    def handle_cancels_requested(self, cancels: CancelsRequested, envelope: Envelope) -> None:
        """A judicator stored cancel requests."""
        self._handle(cancels)

    def handle_executor_report(self, report: ExecutorReport, envelope: Envelope) -> None:
        """An executor says what it holds."""
        self._handle(report)

    def handle_attempt_started(self, said: AttemptStarted, envelope: Envelope) -> None:
        """An attempt runs."""
        self._handle(said)

    def handle_attempt_finished(self, said: AttemptFinished, envelope: Envelope) -> None:
        """An attempt ended."""
        self._handle(said)

    def handle_attempt_returned(self, said: AttemptReturned, envelope: Envelope) -> None:
        """An attempt will not start there."""
        self._handle(said)

    def handle_start_requested(self, said: StartRequested, envelope: Envelope) -> None:
        """A gated attempt asks to execute."""
        self._handle(said)

    def handle_changes_answered(self, answered: ChangesAnswered, envelope: Envelope) -> None:
        """The store's answers."""
        decisions = self._leading(answered.epoch)
        if decisions is not None:
            self._perform(decisions.changes_answered(answered.answers, self.now()))

    def handle_changes_unknown(self, unknown: ChangesUnknown, envelope: Envelope) -> None:
        """The store could not say."""
        self.log.warning("a batch's outcome is unknown", tasks=len(unknown.task_ids), why=unknown.reason)
        decisions = self._leading(unknown.epoch)
        if decisions is not None:
            self._perform(decisions.changes_unknown(unknown.task_ids, self.now()))

    def handle_tasks_reread(self, reread: TasksReread, envelope: Envelope) -> None:
        """A majority read."""
        decisions = self._leading(reread.epoch)
        if decisions is not None:
            self._rereads.answered(reread.asked)
            self._perform(decisions.tasks_read(reread.asked, reread.found, self.now()))

    def handle_tasks_looked_up(self, answer: TasksLookedUp, envelope: Envelope) -> None:
        """How tasks stand that others wait for."""
        decisions = self._leading(answer.epoch)
        if decisions is not None:
            self._perform(decisions.looked_up(answer.asked, answer.found, self.now()))

    def handle_waiting_scanned(self, scanned: WaitingScanned, envelope: Envelope) -> None:
        """A page of the re-scan; the first pass of a leader goes on at once, later ones by the clock."""
        decisions = self._leading(scanned.epoch)
        if decisions is None:
            return
        self._scan_again_at = self._scanned_at + RESCAN_S
        decisions.limits_seen(scanned.limits)
        self._perform(decisions.rebuild([*scanned.tasks, *scanned.cancels], self.now()))
        self._perform(decisions.missed(scanned.keys), repeated=True)
        if scanned.done:
            self._scan_after, self._first_pass = (0.0, ""), False
            return
        self._scan_after = scanned.last
        if self._first_pass:
            self._scan_waiting()

    def handle_read_failed(self, failed: ReadFailed, envelope: Envelope) -> None:
        """The store cannot answer now: ask again soon."""
        again_at = self.now().boot_s + RETRY_S
        if failed.wanted.epoch != self._epoch:
            return
        if isinstance(failed.wanted, ScanActive):
            self._ask_again_at = again_at
        elif isinstance(failed.wanted, ScanWaiting):
            self._scan_again_at = again_at
        else:
            self._rereads.failed(again_at)

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Time has passed."""
        if not self._may_lead():
            self._follow("the lease ran out by this node's own clock")
            return
        now = self.now()
        match self._stand:
            case Stand.FOLLOWING:
                self._take_epoch()
            case Stand.TAKING_EPOCH if now.boot_s >= self._ask_again_at:
                self._take_epoch()
            case Stand.REBUILDING if now.boot_s >= self._ask_again_at:
                self._scan_active()
            case Stand.LEADING if self._decisions is not None:
                self._perform(self._decisions.tick(now), repeated=True)
                if now.boot_s >= self._scan_again_at:
                    self._scan_waiting()

    def _scan_waiting(self) -> None:
        """Re-scan the store (P3), and remind the front doors of the epoch."""
        self._scanned_at = self.now().boot_s
        self._scan_again_at = self._scanned_at + ANSWER_WITHIN_S
        self.tell(SCHEDULER_READER, ScanWaiting(self._epoch, self._scan_after, whole=self._first_pass))
        self._tell_epoch(self._epoch)
        for judicator in self._judicators:
            if judicator != self.stage.node:
                announced = LeaderAnnounced(epoch=self._epoch, leader=self.stage.node)
                self.send(f"{judicator}/judicator", announced)

    def _tell_epoch(self, epoch: Epoch) -> None:
        """Tell this node's actors with what it leads; Epoch() when it does not."""
        for actor in ("judicator", "jobs", "cleaner", "submissions"):
            self.tell(actor, LeadingWith(epoch))

    # --- effects ---------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[Effect], *, repeated: bool = False) -> None:
        """Perform these, with those of all other events at hand, when they are handled (`handle_flush`)."""
        for effect in effects:
            if isinstance(effect, Reread):
                self._rereads.want(effect.task_ids, repeated=repeated)
            else:
                self._effects.append(effect)
        if not self._flushing:
            self._flushing = True
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """The events at hand are handled: place what waits, and do what was decided, once for all of them."""
        decisions, began = self._leading(), self.now()
        if decisions is not None and self._stand == Stand.LEADING:
            self._perform(decisions.assign(began))
        self._flushing = False
        if decisions is not None:
            self._act()
            decisions.passed(self.now().boot_s - began.boot_s)
            if decisions.is_cut_short:
                self._perform(())

    def _act(self) -> None:
        effects, self._effects = self._effects, []
        changes: list[Change] = []
        settled: list[str] = []
        for effect in effects:
            match effect:
                case Save(change):
                    changes.append(change)
                case Send(destination, message):
                    self.send(destination, message)
                case Settled(task_ids):
                    settled += task_ids
                case LookUp(task_ids):
                    self.tell(SCHEDULER_READER, LookUpTasks(self._epoch, task_ids))
                case _:
                    raise TypeError(f"a leader has no such effect: {effect!r}")
        if changes:
            self.tell(STORE_WRITER, CommitChanges(self._epoch, changes))
        wanted = self._rereads.next(self.now().boot_s)
        if wanted:
            self.tell(SCHEDULER_READER, RereadTasks(self._epoch, wanted))
        if settled:
            for judicator in {self.stage.node, *self._judicators}:
                self.send(f"{judicator}/judicator", TasksSettled(task_ids=tuple(settled)))

    # --- queries ---------------------------------------------------------------------------------

    def handle_get_metrics(self, asked: GetMetrics, envelope: Envelope) -> None:
        """What does the leader count? Nothing, if this is none."""
        decisions = self._leading()
        self.reply(envelope, Metrics(samples=tuple(decisions.samples()) if decisions is not None else ()))

    def handle_list_executors(self, asked: ListExecutors, envelope: Envelope) -> None:
        """Which executors does the leader know, and where does a task stand in the queue?"""
        decisions = self._leading()
        answer: object
        if decisions is None or self._stand != Stand.LEADING:
            answer = NotAvailable(detail="a leader is being elected", retry_after_s=1.0)
        else:
            place = decisions.place(asked.place_of) if asked.place_of else None
            answer = ExecutorViews(executors=tuple(decisions.executors()), place=place)
        self.reply(envelope, answer)
