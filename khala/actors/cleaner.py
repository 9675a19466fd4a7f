"""Removes what is over, on the leader: tasks, jobs, tombstones, stray output and files, in small bites.

What goes, and when, `khala.core.retention` decides. Nothing here needs the epoch's guard: only what is
finished is removed, which never changes, and doing it twice is doing it once; so a judicator that does not
lead any more harms nothing. Where it was is kept in memory only: a new leader begins its rounds anew, and
what is due is listed in the store. Its thread blocks in the store.
"""

from __future__ import annotations

from khala.actors.actor import NodeActor, Stage
from khala.actors.leader_messages import LeadingWith
from khala.actors.messages import Tick
from khala.actors.unused_files import UnusedFiles
from khala.bus.envelope import Envelope
from khala.core.retention import (
    DueTask,
    Forget,
    LookAgain,
    Purge,
    Retention,
    forget_at,
    has_outlived,
    step_of_job,
    step_of_task,
)
from khala.core.task import TERMINAL, Epoch
from khala.errors import Unavailable
from khala.store.interface import Store

BITE_TASKS = 200
BITE_JOBS = 3
PAGE_TASKS = 1_000
PAGE_JOBS = 200
PAGE_OUTPUTS = 50
ROUND_S = 600.0
SWEEP_ROUND_S = 6 * 3_600.0
TRIM_S = 3_600.0
KEPT_AUDIT_ENTRIES = 100_000
STATES = sorted(TERMINAL)
START = (0.0, "")


class Cleaner(NodeActor):
    """It rests `busy_s` after a bite that was full, and `idle_s` when there is nothing more to do."""

    def __init__(
        self, stage: Stage, *, store: Store, keep: Retention, idle_s: float = 5.0, busy_s: float = 0.25
    ) -> None:
        super().__init__(stage, "cleaner")
        self._store = store
        self._keep = keep
        self._idle_s, self._busy_s = idle_s, busy_s
        self._leads = False
        self._rest_until = 0.0
        self._begin_rounds()

    def _begin_rounds(self) -> None:
        self._state, self._after = 0, START
        self._jobs_after = START
        self._walk_at = self._walk_jobs_at = self._sweep_at = self._trim_at = 0.0
        self._swept = ""
        kept_s = self._keep.files_s
        self._files = UnusedFiles(self._store, kept_s) if kept_s is not None else None

    def handle_leading_with(self, leading: LeadingWith, envelope: Envelope) -> None:
        """Does this node lead?"""
        leads = leading.epoch != Epoch()
        if leads and not self._leads:
            self._begin_rounds()
        self._leads = leads

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """One bite of everything, if it is time."""
        now = self.now()
        if not self._leads or now.boot_s < self._rest_until:
            return
        try:
            more = self._bite(now.unix_s, now.boot_s)
        except Unavailable as why:
            self.log.warning("cleaning has to wait", reason=str(why))
            more = False
        self._rest_until = self.now().boot_s + (self._busy_s if more else self._idle_s)

    def _bite(self, unix_s: float, boot_s: float) -> bool:
        """Is there more to do at once?"""
        found = [self._find_tasks(unix_s, boot_s), self._find_jobs(unix_s, boot_s)]
        done = [self._remove_tasks(unix_s), self._remove_jobs(unix_s), self._sweep(boot_s)]
        if self._files is not None:
            done.append(self._files.step(unix_s, boot_s))
        if self._keep.audit_s is not None and boot_s >= self._trim_at:
            self._trim_at = boot_s + TRIM_S
            self._store.trim_audit(KEPT_AUDIT_ENTRIES, unix_s - self._keep.audit_s)
        return any((*found, *done))

    # --- what is due -----------------------------------------------------------------------------

    def _remove_tasks(self, now: float) -> bool:
        due = self._store.due_tasks(now, BITE_TASKS)
        if not due:
            return False
        oldest_open = self._store.oldest_open()
        purged: list[str] = []
        forgotten: list[DueTask] = []
        later: dict[str, float] = {}
        for task in due:
            match step_of_task(task, self._keep, now, oldest_open):
                case Purge():
                    purged.append(task.task_id)
                case Forget():
                    forgotten.append(task)
                case LookAgain(at):
                    later[task.task_id] = at
        self._purge(purged, now)
        self._store.forget_tasks(forgotten)
        self._store.look_again(tasks=later)
        return len(due) == BITE_TASKS

    def _remove_jobs(self, now: float) -> bool:
        due = self._store.due_jobs(now, BITE_JOBS, BITE_TASKS)
        later: dict[str, float] = {}
        for job in due:
            match step_of_job(job, self._keep, now):
                case Purge():
                    self._purge(list(job.tasks), now)
                case Forget():
                    self._store.forget_job(job.job_id)
                case LookAgain(at):
                    later[job.job_id] = at
        self._store.look_again(jobs=later)
        return bool(due)

    def _purge(self, task_ids: list[str], now: float) -> None:
        if task_ids:
            self._store.purge_tasks(task_ids, now, forget_at(self._keep, now, now))
            self.log.info("purged", tasks=len(task_ids))

    # --- looking for what is over ----------------------------------------------------------------

    def _find_tasks(self, now: float, boot_s: float) -> bool:
        """List those that have outlived their time: a page of a round over all that are old enough."""
        kept_s = self._keep.finished_s
        if kept_s is None or boot_s < self._walk_at:
            return False
        found = self._store.finished_tasks(STATES[self._state], self._after, now - kept_s, PAGE_TASKS)
        self._store.expire(now, tasks=[task.task_id for task in found if has_outlived(task, self._keep, now)])
        if len(found) == PAGE_TASKS:
            self._after = (found[-1].created_at, found[-1].task_id)
            return True
        self._state, self._after = (self._state + 1) % len(STATES), START
        if self._state == 0:
            self._walk_at = boot_s + self._round_s()
        return self._state != 0

    def _find_jobs(self, now: float, boot_s: float) -> bool:
        """The same for jobs; one that its owner gave a time of its own is listed already."""
        kept_s = self._keep.finished_s
        if kept_s is None or boot_s < self._walk_jobs_at:
            return False
        found = self._store.finished_jobs(self._jobs_after, now - kept_s, PAGE_JOBS)
        self._store.expire(now, jobs=[job_id for _, job_id in found])
        if len(found) == PAGE_JOBS:
            self._jobs_after = found[-1]
            return True
        self._jobs_after, self._walk_jobs_at = START, boot_s + self._round_s()
        return False

    def _round_s(self) -> float:
        """How long after a round the next one begins; short where things are kept for a short time."""
        return ROUND_S if self._keep.finished_s is None else min(ROUND_S, self._keep.finished_s / 10)

    def _sweep(self, boot_s: float) -> bool:
        """A page of a round over all output."""
        if boot_s < self._sweep_at:
            return False
        self._swept = self._store.sweep_outputs(self._swept, PAGE_OUTPUTS)
        if not self._swept:
            self._sweep_at = boot_s + SWEEP_ROUND_S
        return bool(self._swept)
