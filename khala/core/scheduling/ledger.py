"""What the leader knows: its tasks, its executors, and what it is having saved.

The store is the truth; an entry is what the store said last. At most one change of a task is being
saved at a time: whatever happens to it meanwhile is put off and handled after the answer, so every
decision stands on a state that a majority has on disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from khala.core.changes import Change
from khala.core.effects import Effect, Save, Send
from khala.core.instant import Instant
from khala.core.lifecycle import Occurrence, transition
from khala.core.messages import AttemptFinished, ExecutorReport
from khala.core.retention import purge_time
from khala.core.scheduling.holding import Holding
from khala.core.scheduling.placement import Room
from khala.core.scheduling.queue import TaskQueue
from khala.core.scheduling.shares import Shares
from khala.core.scheduling.tally import Tally
from khala.core.task import ACTIVE, TERMINAL, Demand, Epoch, ExitReason, State, Task, TaskControl, TaskSpec

SETTLED_REMEMBERED = 10_000
SPECS_REMEMBERED = 1_024


@dataclass(slots=True)
class Entry:
    """One unfinished task.

    `saving` is the change under way and `cause` the event that asked for it, which is handled again
    if the change missed; `put_off` holds the events that came meanwhile. `sequence` is the number of
    the assignment that this leader sent, 0 if it did not. `spec` is there from the hint or
    the decision to assign until the assignment is sent, if the leader had been told it.
    """

    task_id: str
    control: TaskControl
    demand: Demand
    saving: Change | None = None
    cause: object = None
    put_off: tuple[object, ...] = ()
    sequence: int = 0
    sent_at: float = 0.0
    confirmed: bool = False
    resending: bool = False
    recalled_at: float = 0.0
    aborted_at: float = 0.0
    spec: TaskSpec | None = None

    @property
    def suspect(self) -> bool:
        """Was an executor lost while it ran this task?"""
        return self.control.losses > 0

    @property
    def gated(self) -> bool:
        """Must the start of its current attempt be saved before it executes? (P8)"""
        again = ExitReason.EXECUTOR_LOST in self.demand.retry_on
        return not again or self.control.attempt >= self.demand.max_attempts

    def wait_with(self, event: object) -> None:
        """Handle this once the change under way is answered; what is said again waits only once."""
        if event not in self.put_off:
            self.put_off = (*self.put_off, event)

    def held_by(self, executor: str, incarnation: str, attempt: int) -> bool:
        """Is this its current attempt, assigned to exactly this process?"""
        control = self.control
        return (
            control.state in ACTIVE
            and control.attempt == attempt
            and control.executor == executor
            and control.incarnation == incarnation
        )


@dataclass(slots=True)
class ExecutorEntry:
    """One executor. `entries` are the tasks assigned to this name, of any incarnation. An attempt takes about
    `each_s` seconds of it, 0 if none has ended yet; since `quiet_since` it has had some and none ended."""

    name: str
    incarnation: str = ""
    live: bool = False
    missing_since: float = 0.0
    room: Room = field(default_factory=Room)
    report: ExecutorReport | None = None
    reported_at: float = 0.0
    reported_unix_s: float = 0.0
    announced_at: float = float("-inf")
    next_sequence: int = 1
    each_s: float = 0.0
    quiet_since: float = 0.0
    entries: dict[str, Entry] = field(default_factory=dict)


@dataclass(slots=True)
class Ledger:
    """All of it, and the effects that the current event has asked for so far.

    `unsure` is a set in order of arrival: equal histories ask equal questions in the same order. `last` is
    what was adopted last, for the next task to share.
    """

    epoch: Epoch
    leader: str
    lease_s: float
    at: Instant
    grace_until: float = 0.0
    entries: dict[str, Entry] = field(default_factory=dict)
    executors: dict[str, ExecutorEntry] = field(default_factory=dict)
    queue: TaskQueue = field(default_factory=TaskQueue)
    shares: Shares = field(default_factory=Shares)
    holding: Holding = field(default_factory=Holding)
    unsure: dict[str, None] = field(default_factory=dict)
    questions: dict[str, list[object]] = field(default_factory=dict)
    settled: OrderedDict[str, tuple[int, str, str]] = field(default_factory=OrderedDict)
    effects: list[Effect] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    told: OrderedDict[str, TaskSpec] = field(default_factory=OrderedDict)
    last: tuple[TaskControl, Demand] = (TaskControl(), Demand())
    last_spec: TaskSpec | None = None

    def executor(self, name: str) -> ExecutorEntry:
        """The executor of that name, known from now on."""
        found = self.executors.get(name)
        if found is None:
            found = self.executors[name] = ExecutorEntry(name=name, missing_since=self.at.boot_s)
        return found

    def send(self, executor: str, message: object) -> None:
        """Ask for a message to an executor."""
        self.effects.append(Send(f"{executor}/executor", message))

    def save(self, entry: Entry, happened: Occurrence, *, cause: object = None, spec: bool = False) -> None:
        """Ask for the change that `happened` makes; the entry itself changes when it is saved."""
        control, event = transition(entry.control, happened, at=self.at.unix_s, epoch=self.epoch)
        result = cause.outcome.result if isinstance(cause, AttemptFinished) else None
        ends = control.state in TERMINAL
        demand = entry.demand
        entry.saving = Change(
            task_id=entry.task_id,
            expected_rev=entry.control.rev,
            control=control,
            event=event,
            result=result if ends else None,
            want_spec=spec,
            purge_at=purge_time(self.at.unix_s, demand.ttl_after_finished_s, demand.job_id) if ends else None,
        )
        entry.cause = cause
        self.effects.append(Save(entry.saving))

    def note_spec(self, task_id: str, spec: TaskSpec) -> None:
        """Remember what a hint told; what an executor goes by never changes. Equal ones in a row are one
        object, kept until the task is assigned; of others, the last that were told are."""
        entry = self.entries.get(task_id)
        if entry is not None and entry.saving is None and spec == self.last_spec:
            entry.spec = self.last_spec
            return
        self.last_spec = self.told[task_id] = spec
        if len(self.told) > SPECS_REMEMBERED:
            self.told.popitem(last=False)

    def adopt(self, task_id: str, control: TaskControl, demand: Demand) -> Entry | None:
        """Take over what the store says of a task, if it is news; None when it is finished."""
        entry = self.entries.get(task_id)
        if entry is None:
            if control.state in TERMINAL:
                self.holding.finished(task_id, control.state)
                return None
            entry = self.entries[task_id] = Entry(task_id, *self._shared(control, demand))
            self._attach(entry)
            return entry
        if entry.saving is None and control.rev > entry.control.rev:
            entry.demand = replace(entry.demand, priority=demand.priority)  # all that ever changes
            self.move(entry, control)
        return self.entries.get(task_id)

    def _shared(self, control: TaskControl, demand: Demand) -> tuple[TaskControl, Demand]:
        """The tasks of a request are alike but for their ids: of what is equal one object is kept, not a
        million."""
        last_control, last_demand = self.last
        self.last = (
            last_control if control == last_control else control,
            last_demand if demand == last_demand else demand,
        )
        return self.last

    def adopt_task(self, task: Task, demand: Demand) -> Entry | None:
        """`adopt` for a whole task as it was read."""
        return self.adopt(task.id, task.control, demand)

    def move(self, entry: Entry, control: TaskControl) -> None:
        """Give an entry the control part that is now stored, and keep rooms and queue true to it."""
        same_attempt = control.attempt == entry.control.attempt and control.state in ACTIVE
        if same_attempt and entry.control.state in ACTIVE:
            entry.control = control
            return
        self._detach(entry)
        entry.control = control
        if not same_attempt:
            entry.sequence, entry.sent_at, entry.confirmed = 0, 0.0, False
            entry.resending, entry.recalled_at, entry.aborted_at = False, 0.0, 0.0
        if control.state in TERMINAL:
            del self.entries[entry.task_id]
            self.holding.finished(entry.task_id, control.state)
        else:
            self._attach(entry)

    def forget(self, task_id: str) -> None:
        """Drop a task that the store does not have."""
        entry = self.entries.pop(task_id, None)
        if entry is not None:
            self._detach(entry)

    def remember_settled(self, task_id: str, control: TaskControl) -> None:
        """Note whose outcome was recorded, so that a repeated report needs no read."""
        self.settled[task_id] = (control.attempt, control.executor, control.incarnation)
        while len(self.settled) > SETTLED_REMEMBERED:
            self.settled.popitem(last=False)

    def active(self) -> Iterable[Entry]:
        """All assigned and running entries."""
        for executor in self.executors.values():
            yield from executor.entries.values()

    def reserve(self, executor: ExecutorEntry, entry: Entry) -> None:
        """Count an entry into an executor's room and its owner's share; a pending one while it is being
        saved for it."""
        if not executor.room.taken_slots:
            executor.quiet_since = self.at.boot_s
        executor.room.take(entry.demand, suspect=entry.suspect)
        self.shares.take(entry.demand, self.at.boot_s)

    def release(self, executor: ExecutorEntry, entry: Entry) -> None:
        """Undo `reserve`."""
        executor.room.give_back(entry.demand, suspect=entry.suspect)
        self.shares.give_back(entry.demand, self.at.boot_s)

    def _attach(self, entry: Entry) -> None:
        if entry.control.state in ACTIVE:
            executor = self.executor(entry.control.executor)
            executor.entries[entry.task_id] = entry
            self.reserve(executor, entry)
        elif entry.control.state == State.PENDING and not entry.control.cancel_requested:
            self.enqueue(entry)

    def enqueue(self, entry: Entry) -> None:
        """Put a pending entry into the queue, unless something holds it."""
        if self.holding.admit(entry.task_id, entry.control, entry.demand, self.entries, self.at.unix_s):
            self.queue.push(entry.task_id, entry.demand, suspect=entry.suspect)

    def _detach(self, entry: Entry) -> None:
        if entry.control.state in ACTIVE:
            executor = self.executor(entry.control.executor)
            if executor.entries.pop(entry.task_id, None) is not None:
                self.release(executor, entry)
        else:
            self.queue.discard(entry.task_id)
            self.holding.leave(entry.task_id)
