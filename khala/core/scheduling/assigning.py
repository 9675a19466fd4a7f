"""Giving tasks to executors, sending them again, and taking back what has not started."""

from __future__ import annotations

from collections import deque
from itertools import islice

from khala.core.effects import LookUp, Reread
from khala.core.lifecycle import Assigned, Cancelled, DependencyFailed, QueueTimedOut
from khala.core.messages import AbortAttempt, AssignTask, RecallAttempt
from khala.core.scheduling.holding import timeout_of
from khala.core.scheduling.ledger import Entry, ExecutorEntry, Ledger
from khala.core.scheduling.placement import place
from khala.core.scheduling.queue import Signature, signature_of
from khala.core.task import TERMINAL, State, TaskSpec

PLACE_LIMIT = 250
"""At most this many assignments a pass, so that nothing else waits long for one; the next follows at once."""
RESEND_AFTER_S = 1.5
RECALL_AFTER_S = 0.5
SURPLUS_AFTER_S = 5.0
ABORT_AGAIN_S = 1.0


def assign_waiting(ledger: Ledger) -> bool:
    """Place what waits on executors with room, and ask for each assignment to be saved. Is there more to
    place than is done in one pass?"""
    _release_held(ledger)
    if not len(ledger.queue):
        return False
    placed = 0
    rooms = [(executor.name, executor.room) for executor in ledger.executors.values()]
    for task_id, name in place(ledger.queue, rooms, PLACE_LIMIT, ledger.shares, ledger.at.boot_s):
        entry = ledger.entries[task_id]
        executor = ledger.executors[name]
        entry.spec = ledger.told.pop(task_id, None) or entry.spec
        assigned = Assigned(executor=name, incarnation=executor.incarnation)
        ledger.save(entry, assigned, spec=entry.spec is None)
        ledger.reserve(executor, entry)
        placed += 1
    return placed >= PLACE_LIMIT


def _release_held(ledger: Ledger) -> None:
    """Queue what nothing holds any more, and end what has waited too long or in vain."""
    holding, now = ledger.holding, ledger.at.unix_s
    again: list[str] = []
    for task_id in [*_taken(holding.released), *holding.due(now), *holding.doomed]:
        entry = ledger.entries.get(task_id)
        if entry is None or entry.control.state != State.PENDING or entry.control.cancel_requested:
            continue
        if entry.saving is not None:
            again.append(task_id)
            continue
        timeout_at = timeout_of(entry.control, entry.demand)
        if task_id in holding.doomed:
            ledger.queue.discard(task_id)
            ledger.save(entry, DependencyFailed(detail=holding.doomed.pop(task_id)))
        elif timeout_at is not None and timeout_at <= now:
            ledger.queue.discard(task_id)
            ledger.save(entry, QueueTimedOut(after_s=entry.demand.queue_timeout_s or 0.0))
        else:
            ledger.enqueue(entry)
    holding.released.extend(again)
    unknown = holding.to_look_up(now)
    if unknown:
        ledger.effects.append(LookUp(unknown))


def _taken(waiting: deque[str]) -> list[str]:
    taken = list(waiting)
    waiting.clear()
    return taken


def send_assignment(ledger: Ledger, entry: Entry, spec: TaskSpec) -> None:
    """Send a saved assignment, with the next number unless it had one already (P8)."""
    control = entry.control
    executor = ledger.executor(control.executor)
    if executor.incarnation != control.incarnation:
        return
    if not entry.sequence:
        entry.sequence = executor.next_sequence
        executor.next_sequence += 1
    entry.sent_at = ledger.at.boot_s
    ledger.send(
        executor.name,
        AssignTask(
            epoch=ledger.epoch,
            incarnation=control.incarnation,
            sequence=entry.sequence,
            task_id=entry.task_id,
            attempt=control.attempt,
            spec=spec,
            gated=entry.gated,
        ),
    )


def resend_unconfirmed(ledger: Ledger) -> None:
    """Read again, to send again, what no report has confirmed for a while."""
    late = ledger.at.boot_s - RESEND_AFTER_S
    wanted = []
    for entry in ledger.active():
        if (
            entry.control.state == State.ASSIGNED
            and entry.saving is None
            and entry.sequence
            and not entry.confirmed
            and entry.sent_at < late
            and ledger.executor(entry.control.executor).live
        ):
            entry.resending = True
            entry.sent_at = ledger.at.boot_s
            wanted.append(entry.task_id)
    if wanted:
        ledger.effects.append(Reread(tuple(wanted)))


def stop_if_cancelled(ledger: Ledger, entry: Entry) -> None:
    """Do what a requested cancel asks for in the entry's state."""
    control = entry.control
    if not control.cancel_requested or entry.saving is not None or control.state in TERMINAL:
        return
    if control.state == State.PENDING:
        ledger.queue.discard(entry.task_id)
        ledger.save(entry, Cancelled())
    elif ledger.at.boot_s - entry.aborted_at >= ABORT_AGAIN_S or not entry.aborted_at:
        entry.aborted_at = ledger.at.boot_s
        ledger.send(
            control.executor,
            AbortAttempt(
                epoch=ledger.epoch,
                incarnation=control.incarnation,
                task_id=entry.task_id,
                attempt=control.attempt,
            ),
        )


def recall_for_idle(ledger: Ledger) -> None:
    """Take back tasks that wait ahead at a busy executor while a suitable one is idle."""
    idle = [e for e in ledger.executors.values() if e.room.open and e.room.taken_slots < e.room.slots]
    if not idle or any(_fits_one(signature, idle) for signature in _wanted(ledger)):
        return
    free = sum(e.room.slots - e.room.taken_slots for e in idle)
    waited = ledger.at.boot_s - RECALL_AFTER_S
    for executor in ledger.executors.values():
        if executor.room.taken_slots <= executor.room.slots:
            continue
        surplus = executor.room.taken_slots - executor.room.slots
        for entry in reversed(executor.entries.values()):
            if free <= 0 or surplus <= 0:
                break
            if not _may_recall(entry, waited) or not _fits_one(
                signature_of(entry.demand, entry.suspect), idle
            ):
                continue
            free -= 1
            surplus -= 1
            _recall(ledger, entry)


def recall_surplus(ledger: Ledger) -> None:
    """Take back what has waited long at an executor that turned out to be slower than what it was given ahead
    for: until then, what comes later and is more urgent would have to wait for it."""
    waited = ledger.at.boot_s - SURPLUS_AFTER_S
    for executor in ledger.executors.values():
        surplus = executor.room.taken_slots - executor.room.slots - executor.room.ahead_limit()
        if surplus <= 0:
            continue
        surplus -= sum(entry.recalled_at >= waited for entry in executor.entries.values())
        late = (entry for entry in reversed(executor.entries.values()) if _may_recall(entry, waited))
        for entry in islice(late, max(0, surplus)):
            _recall(ledger, entry)


def recall_for_newcomers(ledger: Ledger) -> None:
    """Take back what was sent ahead of somebody's first task, who runs none while others do.

    One user's hundred thousand tasks then delay another's one by what runs, and not by what waits at
    executors: there it begins in the order of its coming, which was decided before.
    """
    settled = {entry.demand.owner for entry in ledger.active() if entry.control.state == State.RUNNING}
    waited = ledger.at.boot_s - RECALL_AFTER_S
    for executor in ledger.executors.values():
        before: list[Entry] = []
        for entry in executor.entries.values():
            if entry.demand.owner in settled:
                if _may_recall(entry, waited):
                    before.append(entry)
            elif before and _may_recall(entry, waited):
                for each in before:
                    _recall(ledger, each)
                break
    _make_room(ledger, waited)


def _make_room(ledger: Ledger, waited: float) -> None:
    """Take back what waits ahead at one executor, while somebody who holds nothing waits in the queue."""
    signature, able = _first_who_holds_nothing(ledger)
    if signature is None or any(executor.room.fits_now(signature) for executor in able):
        return
    ahead = (
        [entry for entry in executor.entries.values() if _may_recall(entry, waited)] for executor in able
    )
    for entry in min(filter(None, ahead), key=len, default=()):
        _recall(ledger, entry)


def _first_who_holds_nothing(ledger: Ledger) -> tuple[Signature | None, list[ExecutorEntry]]:
    """What the first in the queue needs of those who hold nothing, and the executors that could give it.

    What fits nowhere waits for an executor of its kind, and keeps nobody else from room that is there.
    """
    shares, now = ledger.shares, ledger.at.boot_s
    lanes = [lane for lane in ledger.queue.lanes() if not shares.held(lane[1]) and shares.may_take(*lane[1:])]
    lanes.sort(key=lambda lane: (shares.rank(lane[1], now), lane))
    for signature in dict.fromkeys(lane[0] for lane in lanes):
        able = [e for e in ledger.executors.values() if e.room.open and e.room.could_ever_fit(signature)]
        if able:
            return signature, able
    return None, []


def _recall(ledger: Ledger, entry: Entry) -> None:
    """Ask for it back, unless it has started."""
    entry.recalled_at = ledger.at.boot_s
    ledger.send(
        entry.control.executor,
        RecallAttempt(
            epoch=ledger.epoch,
            incarnation=entry.control.incarnation,
            task_id=entry.task_id,
            attempt=entry.control.attempt,
        ),
    )


def _may_recall(entry: Entry, waited: float) -> bool:
    return (
        entry.control.state == State.ASSIGNED
        and entry.saving is None
        and 0 < entry.sent_at < waited
        and entry.recalled_at < waited
    )


def _wanted(ledger: Ledger) -> set[Signature]:
    """What the waiting tasks need whose owners and jobs may have one more."""
    return {lane[0] for lane in ledger.queue.lanes() if ledger.shares.may_take(*lane[1:])}


def _fits_one(signature: Signature, idle: list[ExecutorEntry]) -> bool:
    return any(e.room.could_ever_fit(signature) and e.room.fits_now(signature) for e in idle)
