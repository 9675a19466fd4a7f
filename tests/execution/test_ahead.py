"""Jobs that a slot is given ahead: they run in order without a word of the executor, or come back."""

from __future__ import annotations

import os
import signal

import pytest
from execution.harness import Bench, launcher_pids, script, zygote_pids
from wait import wait_until

from khala.core.task import Command, Isolation, TaskSpec
from khala.errors import Fault
from khala.execution.job import Job, JobEnded, JobReturned


def give(bench: Bench, *texts: str) -> list[Job]:
    """Jobs of slot 0, the first of which begins."""
    first = bench.start(script(texts[0]))
    return [first, *give_more(bench, *texts[1:])]


def give_more(bench: Bench, *texts: str) -> list[Job]:
    """Jobs of slot 0, behind what it has."""
    jobs = [Job(task_id=f"{next(bench.numbers):024x}", attempt=1, spec=script(text)) for text in texts]
    for job in jobs:
        bench.pool.run(0, job, ahead=True)
    return jobs


def heard(bench: Bench, count: int) -> list[tuple[str, str]]:
    """So many ends and returns: what became of which task."""
    told: list[tuple[str, str]] = []
    while len(told) < count:
        event = bench.events.get(timeout=60)
        if isinstance(event, JobReturned):
            told.append((event.task_id, "returned"))
        elif isinstance(event, JobEnded):
            told.append((event.task_id, event.outcome.exit_reason.value))
    return told


def test_they_run_one_after_the_other(ahead: Bench) -> None:
    jobs = give(ahead, *("true",) * 20)
    told = heard(ahead, 20)
    kept = [job.task_id for job in jobs if (job.task_id, "exited") in told]
    assert kept[0] == jobs[0].task_id
    assert [task_id for task_id, what in told if what == "exited"] == kept, "in order"


def test_what_is_behind_a_long_one_comes_back_and_never_begins(ahead: Bench) -> None:
    jobs = give(ahead, "sleep 300", "true", "true")
    assert set(heard(ahead, 2)) == {(job.task_id, "returned") for job in jobs[1:]}
    late = Job(task_id=f"{next(ahead.numbers):024x}", attempt=1, spec=script("true"))
    ahead.pool.run(0, late, ahead=True)
    assert heard(ahead, 1) == [(late.task_id, "returned")]
    ahead.pool.abort(0, kill_grace_s=0)
    assert heard(ahead, 1) == [(jobs[0].task_id, "cancelled")]
    assert ahead.run(script("true")).outcome.succeeded


def test_one_that_is_aborted_before_its_turn_does_not_run(ahead: Bench) -> None:
    jobs = give(ahead, "sleep 0.01", "sleep 300", "true")
    ahead.pool.abort(0, (jobs[1].task_id, 1), kill_grace_s=60)
    told = dict(heard(ahead, 3))
    assert told[jobs[0].task_id] == "exited"
    assert told[jobs[1].task_id] in ("cancelled", "returned")
    assert told[jobs[2].task_id] in ("exited", "returned")


def stopped(bench: Bench) -> tuple[Job, int]:
    """A job that runs, in a launcher that is stopped and will hear of no other; its pid."""
    [job] = give(bench, "touch ready; sleep 300")
    wait_until((bench.workspace_of(job) / "ready").exists, what="the task is up")
    pid = launcher_pids(bench.root)[0]
    os.kill(pid, signal.SIGSTOP)
    return job, pid


def test_a_launcher_that_dies_takes_only_the_first_one_with_it(own_bench: Bench) -> None:
    """The others had not begun, and run in the next launcher."""
    first, pid = stopped(own_bench)
    more = give_more(own_bench, "echo second", "echo third")
    os.kill(pid, signal.SIGKILL)
    told = heard(own_bench, 3)
    assert told[0] == (first.task_id, "internal_error")
    assert (more[0].task_id, "exited") in told
    assert dict(told)[more[1].task_id] in ("exited", "returned"), "the one before it may take long here"


def test_an_aborted_one_is_not_given_to_the_next_launcher(own_bench: Bench) -> None:
    first, pid = stopped(own_bench)
    more = give_more(own_bench, "true", "true")
    own_bench.pool.abort(0, ("0" * 24, 1), kill_grace_s=0)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not own_bench.workspace_of(first).exists(), what="the launcher is buried")
    own_bench.pool.abort(0, (more[0].task_id, 1), kill_grace_s=0)
    told = dict(heard(own_bench, 3))
    assert told[first.task_id] == "internal_error"
    assert told[more[0].task_id] in ("cancelled", "exited")
    assert told[more[1].task_id] in ("exited", "returned")


def test_a_zygote_that_dies_costs_none(own_bench: Bench) -> None:
    """Its launchers finish what they have; then each is replaced."""
    before = launcher_pids(own_bench.root)[0]
    jobs = give(own_bench, "sleep 0.2", *("true",) * 5)
    [zygote] = zygote_pids(own_bench.root)
    os.kill(zygote, signal.SIGKILL)
    told = dict(heard(own_bench, 6))
    assert told[jobs[0].task_id] == "exited"
    wait_until(lambda: launcher_pids(own_bench.root).get(0, before) != before, what="a new launcher")
    for job in jobs[1:]:
        assert told[job.task_id] in ("exited", "returned")
    assert own_bench.run(script("true")).outcome.succeeded


def test_one_that_cannot_be_run_holds_up_nobody(own_bench: Bench) -> None:
    [first] = give(own_bench, "sleep 0.005")
    boxed = TaskSpec(execute=Command(argv=("true",)), isolation=Isolation.STRICT)
    unrunnable = Job(task_id=f"{next(own_bench.numbers):024x}", attempt=1, spec=boxed)
    own_bench.pool.run(0, unrunnable, ahead=True)
    [last] = give_more(own_bench, "true")
    told = dict(heard(own_bench, 3))
    assert told[unrunnable.task_id] == "setup_failed"
    assert told[first.task_id] == "exited"
    assert told[last.task_id] in ("exited", "returned")


def test_without_being_ahead_a_busy_slot_takes_nothing(own_bench: Bench) -> None:
    [job] = give(own_bench, "sleep 300")
    other = Job(task_id=f"{9:024x}", attempt=1, spec=script("true"))
    with pytest.raises(Fault, match=f"slot 0 is busy with {job.task_id}"):
        own_bench.pool.run(0, other)
    own_bench.pool.abort(0, kill_grace_s=0)
    assert heard(own_bench, 1) == [(job.task_id, "cancelled")]
