"""What an executor says of one attempt, and what the store says of one change."""

from __future__ import annotations

from collections.abc import Sequence

from khala.core.changes import Changed
from khala.core.effects import Reread, Settled
from khala.core.lifecycle import PhaseEntered, Returned, Started
from khala.core.messages import (
    AbortAttempt,
    AttemptFinished,
    AttemptReturned,
    AttemptStarted,
    AttemptView,
    OutcomeSettled,
    StartCleared,
    StartRequested,
)
from khala.core.scheduling.assigning import send_assignment, stop_if_cancelled
from khala.core.scheduling.ledger import Entry, Ledger
from khala.core.scheduling.pace import note_end
from khala.core.scheduling.retrying import end_of, loss_of
from khala.core.task import TERMINAL, Phase, State, Task, TaskSpec, demand_of


def told_of_another_generation(
    ledger: Ledger, said: AttemptFinished | AttemptStarted | AttemptReturned | StartRequested
) -> bool:
    """Was this attempt given by a store that is lost? Its number may be another attempt's now (P4)."""
    foreign = not said.epoch.shares_generation(ledger.epoch)
    if foreign and isinstance(said, AttemptFinished):
        _acknowledge(ledger, said, won=False)
    return foreign


def attempt_finished(ledger: Ledger, said: AttemptFinished) -> None:
    """Record an outcome once; tell the executor of one that came too late."""
    entry = ledger.entries.get(said.task_id)
    if entry is None:
        known = ledger.settled.get(said.task_id)
        if known is None:
            ask(ledger, said.task_id, said)
        else:
            _acknowledge(ledger, said, won=known == (said.attempt, said.executor, said.incarnation))
    elif entry.saving is not None:
        entry.wait_with(said)
    elif entry.held_by(said.executor, said.incarnation, said.attempt):
        note_end(ledger.executor(said.executor), entry.demand, said, ledger.at.boot_s)
        ledger.save(entry, end_of(entry, said, ledger.at.unix_s), cause=said)
    elif said.attempt > entry.control.attempt:
        ask(ledger, said.task_id, said)
    else:
        _acknowledge(ledger, said, won=False)


def attempt_started(ledger: Ledger, said: AttemptStarted) -> None:
    """Record that an attempt runs, and in which phase."""
    entry = ledger.entries.get(said.task_id)
    if entry is None or not entry.held_by(said.executor, said.incarnation, said.attempt):
        if entry is not None and entry.saving is not None:
            entry.wait_with(said)
        return
    entry.confirmed = True
    if entry.saving is not None:
        entry.wait_with(said)
        return
    phase = Phase(said.phase) if said.phase else None
    if entry.control.state == State.ASSIGNED:
        ledger.save(entry, Started(at=said.at, phase=phase), cause=said)
    elif phase is not None and entry.control.phase != phase and entry.control.phase != Phase.EXECUTE:
        ledger.save(entry, PhaseEntered(phase=phase), cause=said)


def attempt_returned(ledger: Ledger, said: AttemptReturned) -> None:
    """Queue again what will never start there."""
    entry = ledger.entries.get(said.task_id)
    if entry is None:
        return
    if entry.saving is not None:
        entry.wait_with(said)
    elif entry.held_by(said.executor, said.incarnation, said.attempt):
        began = said.unknown and entry.control.state == State.RUNNING
        ledger.save(
            entry,
            loss_of(entry.demand, said.reason, possibly_started=True)
            if began
            else Returned(detail=said.reason),
            cause=said,
        )


def start_requested(ledger: Ledger, said: StartRequested) -> None:
    """Save the start of a gated attempt before it may execute (P8)."""
    entry = ledger.entries.get(said.task_id)
    if entry is None:
        return
    if entry.saving is not None:
        entry.wait_with(said)
    elif entry.held_by(said.executor, said.incarnation, said.attempt):
        entry.confirmed = True
        if entry.control.state == State.RUNNING:
            _clear(ledger, entry)
        elif not entry.control.cancel_requested:
            ledger.save(entry, Started(at=ledger.at.unix_s), cause=said)


def abort_superseded(ledger: Ledger, executor: str, view: AttemptView) -> None:
    """Tell an executor to end an attempt that does not count any more."""
    ledger.send(
        executor,
        AbortAttempt(
            epoch=ledger.epoch,
            incarnation=view.incarnation,
            task_id=view.task_id,
            attempt=view.attempt,
            superseded=True,
        ),
    )


def ask(ledger: Ledger, task_id: str, question: object) -> None:
    """Read a task that the ledger does not hold before answering about it (P2)."""
    waiting = ledger.questions.setdefault(task_id, [])
    if not waiting:
        ledger.effects.append(Reread((task_id,)))
    if question not in waiting:
        waiting.append(question)


def changed(ledger: Ledger, answer: Changed) -> Sequence[object]:
    """Take the store's answer to one change; returns the events to handle now."""
    entry = ledger.entries.get(answer.task_id)
    if entry is None or entry.saving is None:
        return []
    change, cause, told = entry.saving, entry.cause, entry.spec
    entry.saving, entry.cause, entry.spec = None, None, None
    ledger.unsure.pop(entry.task_id, None)
    put_off, entry.put_off = entry.put_off, ()
    if entry.control.state == State.PENDING and change.control.state == State.ASSIGNED:
        ledger.release(ledger.executor(change.control.executor), entry)
    if answer.applied:
        ledger.move(entry, change.control)
        _tell(ledger, entry, cause, answer.spec or told)
        return put_off
    if answer.current is None:
        ledger.forget(answer.task_id)
        return [event for event in [cause, *put_off] if isinstance(event, AttemptFinished)]
    ledger.move(entry, answer.current.control)
    return [cause, *put_off] if cause is not None else put_off


def was_read(ledger: Ledger, task_id: str, task: Task | None) -> list[object]:
    """Take a majority read of one task; returns the events to handle now.

    A read may be older than what the ledger knows, or than the question that it should answer: the
    first is asked again by the tick, the second by the executor, which says everything again.
    """
    entry = ledger.entries.get(task_id)
    if entry is not None and task is not None and task.control.rev < entry.control.rev:
        return []
    events: list[object] = []
    if task_id in ledger.unsure and entry is not None and entry.saving is not None:
        applied = task is not None and task.control == entry.saving.control
        spec = task.spec if task is not None else None
        events += changed(ledger, Changed(task_id=task_id, applied=applied, current=task, spec=spec))
    elif task is not None:
        entry = ledger.adopt_task(task, demand_of(task))
        if entry is not None and entry.resending and entry.saving is None:
            entry.resending = False
            if entry.control.state == State.ASSIGNED:
                send_assignment(ledger, entry, task.spec)
    for question in ledger.questions.pop(task_id, []):
        unfinished = task is not None and task.control.state not in TERMINAL
        if task is not None and unfinished and _attempt_of(question) > task.control.attempt:
            continue
        if task_id in ledger.entries:
            events.append(question)
        else:
            _answer_finished(ledger, question, task)
    return events


def _attempt_of(question: object) -> int:
    match question:
        case AttemptFinished(attempt=attempt) | (str(), AttemptView(attempt=attempt)):
            return attempt
    raise TypeError(f"nobody asks {question!r}")


def _answer_finished(ledger: Ledger, question: object, task: Task | None) -> None:
    """Answer about a task that is finished, or that does not exist."""
    if isinstance(question, AttemptFinished):
        won = False
        if task is not None and task.control.state in TERMINAL:
            control = task.control
            won = (control.attempt, control.executor, control.incarnation) == (
                question.attempt,
                question.executor,
                question.incarnation,
            )
        _acknowledge(ledger, question, won=won)
    elif isinstance(question, tuple):
        executor, view = question
        abort_superseded(ledger, executor, view)


def _tell(ledger: Ledger, entry: Entry, cause: object, spec: TaskSpec | None) -> None:
    """A change is saved: now, and not before, tell whom it concerns."""
    control = entry.control
    if control.state in TERMINAL:
        ledger.remember_settled(entry.task_id, control)
        ledger.tally.ended(control, cause.outcome.result if isinstance(cause, AttemptFinished) else None)
        ledger.effects.append(Settled((entry.task_id,)))
        if isinstance(cause, AttemptFinished):
            _acknowledge(ledger, cause, won=True)
    elif control.state == State.ASSIGNED and cause is None and spec is not None:
        send_assignment(ledger, entry, spec)
    elif isinstance(cause, StartRequested):
        _clear(ledger, entry)
    elif isinstance(cause, AttemptFinished):
        _acknowledge(ledger, cause, won=False)
    stop_if_cancelled(ledger, entry)


def _clear(ledger: Ledger, entry: Entry) -> None:
    control = entry.control
    cleared = StartCleared(
        epoch=ledger.epoch,
        incarnation=control.incarnation,
        task_id=entry.task_id,
        attempt=control.attempt,
    )
    ledger.send(control.executor, cleared)


def _acknowledge(ledger: Ledger, said: AttemptFinished, *, won: bool) -> None:
    settled = OutcomeSettled(task_id=said.task_id, attempt=said.attempt, superseded=not won, epoch=said.epoch)
    ledger.send(said.executor, settled)
