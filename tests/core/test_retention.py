"""What becomes of what is due: every standing, and the settings that decide."""

from __future__ import annotations

import math

import pytest

from khala.core.retention import (
    CLOCK_MARGIN_S,
    DueJob,
    DueTask,
    FinishedTask,
    Forget,
    LookAgain,
    Purge,
    Retention,
    Standing,
    Step,
    forget_at,
    has_outlived,
    purge_time,
    step_of_job,
    step_of_task,
)

NOW = 1e6
KEEP = Retention(finished_s=100.0, keys_s=1000.0)
FOR_EVER = Retention()


def due(standing: Standing, purged_at: float = 0.0) -> DueTask:
    return DueTask(task_id="a" * 24, standing=standing, purged_at=purged_at)


@pytest.mark.parametrize(
    ("task", "oldest_open", "step"),
    [
        (due(Standing.GONE), math.inf, Forget()),
        (due(Standing.OPEN), math.inf, LookAgain(NOW + 60.0)),
        (due(Standing.FINISHED), 0.0, Purge()),
        (due(Standing.PURGED, NOW - 999.0), math.inf, LookAgain(NOW + 1.0)),
        (due(Standing.PURGED, NOW - 1000.0), math.inf, Forget()),
        (due(Standing.PURGED, NOW - 1000.0), NOW - 1000.0 + CLOCK_MARGIN_S, LookAgain(NOW + 3600.0)),
        (due(Standing.PURGED, NOW - 1000.0), NOW - 999.0 + CLOCK_MARGIN_S, Forget()),
    ],
)
def test_a_task_that_is_due(task: DueTask, oldest_open: float, step: Step) -> None:
    assert step_of_task(task, KEEP, NOW, oldest_open) == step


def test_a_tombstone_stays_where_keys_are_kept_for_ever() -> None:
    step = step_of_task(due(Standing.PURGED, 1.0), FOR_EVER, NOW, math.inf)
    assert isinstance(step, LookAgain) and step.at > NOW + 86_400
    assert forget_at(KEEP, 5.0, NOW) == 1005.0


@pytest.mark.parametrize(
    ("job", "step"),
    [
        (DueJob(job_id="b", standing=Standing.GONE), Forget()),
        (DueJob(job_id="b", standing=Standing.OPEN, tasks=("t",)), LookAgain(NOW + 60.0)),
        (DueJob(job_id="b", standing=Standing.FINISHED, tasks=("t",), has_left=True), Purge()),
        (DueJob(job_id="b", standing=Standing.FINISHED, has_left=True), LookAgain(NOW + 1000.0)),
        (DueJob(job_id="b", standing=Standing.FINISHED), Forget()),
    ],
)
def test_a_job_that_is_due(job: DueJob, step: Step) -> None:
    assert step_of_job(job, KEEP, NOW) == step


def test_what_its_owner_asked_for_counts_before_the_setting() -> None:
    ended = FinishedTask(task_id="t", created_at=0.0, finished_at=NOW - 100.0)
    assert has_outlived(ended, KEEP, NOW) and not has_outlived(ended, KEEP, NOW - 1.0)
    assert not has_outlived(ended, FOR_EVER, NOW)
    own = FinishedTask(task_id="t", created_at=0.0, finished_at=NOW - 100.0, ttl_s=200.0)
    assert not has_outlived(own, KEEP, NOW) and has_outlived(own, FOR_EVER, NOW + 100.0)


def test_a_jobs_task_goes_with_its_job() -> None:
    ended = FinishedTask(task_id="t", created_at=0.0, finished_at=0.0, job_id="b", ttl_s=1.0)
    assert not has_outlived(ended, KEEP, NOW)
    assert purge_time(5.0, 2.0, "") == 7.0
    assert purge_time(5.0, 2.0, "b") is None and purge_time(5.0, None, "") is None
