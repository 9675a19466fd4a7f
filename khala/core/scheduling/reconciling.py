"""Holding the ledger against what executors report and what membership says.

Absent is not lost (P9): only an assignment at or below the highest number that a report names can be
missing from it. A new leader, and one that comes out of a gap of the coordination service, gives
every executor one full lease to report before it calls one lost (P10).
"""

from __future__ import annotations

from collections.abc import Mapping

from khala.core.lifecycle import Returned
from khala.core.messages import AttemptView, ExecutorReport, LeaderAnnounced
from khala.core.scheduling.ledger import Entry, ExecutorEntry, Ledger
from khala.core.scheduling.retrying import loss_of
from khala.core.scheduling.settling import abort_superseded, ask
from khala.core.task import ACTIVE, State

ANNOUNCE_AGAIN_S = 1.0


def members_seen(ledger: Ledger, live: Mapping[str, str]) -> None:
    """Take membership's word for which executors live: name to incarnation."""
    for name, incarnation in live.items():
        executor = ledger.executor(name)
        if executor.incarnation != incarnation:
            executor.incarnation = incarnation
            executor.report = None
            executor.room.open = False
            executor.next_sequence = 1
            executor.announced_at = float("-inf")
        executor.live = True
        announce(ledger, executor)
    for name, executor in ledger.executors.items():
        if executor.live and name not in live:
            executor.live = False
            executor.room.open = False
            executor.missing_since = ledger.at.boot_s


def announce(ledger: Ledger, executor: ExecutorEntry) -> None:
    """Ask a live executor that has not reported to this leader for its report, now and then."""
    due = ledger.at.boot_s - executor.announced_at >= ANNOUNCE_AGAIN_S
    if executor.live and executor.report is None and due:
        executor.announced_at = ledger.at.boot_s
        ledger.send(executor.name, LeaderAnnounced(epoch=ledger.epoch, leader=ledger.leader))


def reported(ledger: Ledger, report: ExecutorReport) -> None:
    """Take an executor's report, unless it is of another process, another leader, or old."""
    executor = ledger.executors.get(report.executor)
    if executor is None or not executor.live or executor.incarnation != report.incarnation:
        return
    if report.epoch != ledger.epoch:
        executor.report, executor.announced_at = None, float("-inf")
        announce(ledger, executor)
        return
    if executor.report is not None and report.number <= executor.report.number:
        return
    executor.report = report
    executor.reported_at, executor.reported_unix_s = ledger.at.boot_s, ledger.at.unix_s
    if report.highest_epoch == ledger.epoch:
        executor.next_sequence = max(executor.next_sequence, report.highest_sequence + 1)
    room = executor.room
    room.slots, room.cpus, room.memory_bytes = report.slots, report.cpus, report.memory_bytes
    room.labels, room.open = dict(report.labels), not report.draining
    room.isolation = frozenset(report.isolation)
    _compare(ledger, executor, report)


def _compare(ledger: Ledger, executor: ExecutorEntry, report: ExecutorReport) -> None:
    shown = {(view.task_id, view.attempt): view for view in report.attempts}
    for entry in list(executor.entries.values()):
        if entry.saving is not None:
            continue
        view = shown.get((entry.task_id, entry.control.attempt))
        if view is not None and view.incarnation == entry.control.incarnation:
            entry.confirmed = True
        elif entry.control.incarnation != report.incarnation:
            _process_is_gone(ledger, executor, entry)
        elif can_be_missing(ledger, entry, report):
            _went_missing(ledger, entry)
    for view in report.attempts:
        check_view(ledger, report.executor, view)


def can_be_missing(ledger: Ledger, entry: Entry, report: ExecutorReport) -> bool:
    """Could the executor have known this attempt when it built the report, and never again? (P9)

    It refuses every assignment at or below its highest number that it does not hold, and everything
    of an older epoch than the one it answers.
    """
    if not entry.sequence:
        return True
    return (ledger.epoch, entry.sequence) <= (report.highest_epoch, report.highest_sequence)


def check_view(ledger: Ledger, executor: str, view: AttemptView) -> None:
    """End what an executor holds and should not; ask about what the ledger does not know."""
    if view.status == "finished":
        return
    entry = ledger.entries.get(view.task_id)
    if entry is None:
        ask(ledger, view.task_id, (executor, view))
    elif entry.saving is None and not entry.held_by(executor, view.incarnation, view.attempt):
        if view.attempt > entry.control.attempt:
            ask(ledger, view.task_id, (executor, view))
        else:
            abort_superseded(ledger, executor, view)


def _went_missing(ledger: Ledger, entry: Entry) -> None:
    if entry.control.state == State.ASSIGNED:
        ledger.save(entry, Returned(detail="the executor does not hold it"))
    else:
        _lose(ledger, entry, "the executor does not know it any more", possibly_started=True)


def _process_is_gone(ledger: Ledger, executor: ExecutorEntry, entry: Entry) -> None:
    """The executor was started anew and its journal names neither a start nor an end of this one."""
    started = entry.control.state == State.RUNNING
    detail = f"executor {executor.name} was started again"
    _lose(ledger, entry, detail, possibly_started=started)


def lose_the_missing(ledger: Ledger) -> None:
    """Give away the attempts of executors whose lease ran out, once the grace is over (P10)."""
    if ledger.at.boot_s < ledger.grace_until:
        return
    for executor in list(ledger.executors.values()):
        if executor.live:
            continue
        for entry in list(executor.entries.values()):
            if entry.saving is None and entry.control.state in ACTIVE:
                started = entry.control.state == State.RUNNING or not entry.gated
                _lose(ledger, entry, f"executor {executor.name} was lost", possibly_started=started)
        if not executor.entries and not executor.room.taken_slots:
            del ledger.executors[executor.name]


def _lose(ledger: Ledger, entry: Entry, detail: str, *, possibly_started: bool) -> None:
    ledger.save(entry, loss_of(entry.demand, detail, possibly_started=possibly_started))
