"""From submit to outcome, with real commands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from actors.world import World
from wait import wait_until

from khala.actors.executor_messages import Drain
from khala.core.checking import Checker
from khala.core.commands import CancelTasks, ExecutorViews, GetTasks, ListExecutors, Ping, SubmitTasks
from khala.core.journal import JournalRecord
from khala.core.scheduling.scheduler import Scheduler
from khala.core.task import Command, ExitReason, InputFile, Limits, State, Verdict
from khala.core.transfers import PutFileChunk
from khala.execution.journal import Journal


def test_a_task_runs_and_its_outcome_is_read(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    ids = world.submit(judicator, world.new("echo hello"), world.new("exit 3"))
    first, second = world.finished(judicator, ids)
    assert first.control.state == State.SUCCEEDED
    assert first.result and first.result.execute and first.result.execute.stdout.head == b"hello\n"
    assert (second.control.state, second.control.exit_reason) == (State.FAILED, ExitReason.EXITED)
    world.ended_once(ids[0])


def test_a_verdict_is_given_where_the_output_is(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    zeros = "head -c 100000 /dev/zero | tr '\\0' ' '; echo"
    shells = ("echo 42", "echo 41", "exit 1", f"{zeros} 42", "kill $$")
    ids = world.submit(
        judicator, *(world.new(shell, expected_output=b"42", checker=Checker.TOKENS) for shell in shells)
    )
    right, wrong, failed, long, killed = world.finished(judicator, ids)
    verdicts = [task.result and task.result.verdict for task in (right, wrong, failed, long, killed)]
    assert verdicts == [
        Verdict.ACCEPTED,
        Verdict.WRONG_ANSWER,
        Verdict.RUNTIME_ERROR,
        Verdict.ACCEPTED,
        Verdict.RUNTIME_ERROR,
    ]
    assert wrong.control.state == State.SUCCEEDED
    assert wrong.result and wrong.result.difference
    assert (wrong.result.difference.expected, wrong.result.difference.actual) == ("42", "41")
    assert long.result and long.result.execute and long.result.execute.stdout.left_out, "judged by its spool"


def test_a_stored_file_reaches_the_task(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    data = b"from a file\n"
    sha256 = hashlib.sha256(data).hexdigest()
    chunk = PutFileChunk(upload_id="u", sha256=sha256, size=len(data), offset=0, data=data)
    assert world.ask(judicator, chunk).complete
    new = world.new("cat in.txt", inputs=(InputFile(path="in.txt", file_id=sha256),))
    (task,) = world.finished(judicator, world.submit(judicator, new))
    assert task.result and task.result.execute and task.result.execute.stdout.head == data


def test_a_missing_file_is_the_tasks_failure_and_the_slot_takes_the_next(world: World) -> None:
    judicator = world.judicator()
    executor = world.executor(slots=1)
    new = world.new("true", inputs=(InputFile(path="in.txt", file_id="0" * 64),))
    ids = world.submit(judicator, new, world.new("true"))
    first, second = world.finished(judicator, ids)
    assert first.control.exit_reason == ExitReason.SETUP_FAILED
    assert second.control.state == State.SUCCEEDED
    assert not executor.gave_up


def test_a_pending_and_a_running_task_are_cancelled(world: World) -> None:
    judicator = world.judicator()
    (waiting,) = world.submit(judicator, world.new("sleep 600"))
    assert world.ask(judicator, CancelTasks(task_ids=(waiting, "f" * 24))).results[1].answer == "not_found"
    (task,) = world.finished(judicator, [waiting])
    assert task.control.state == State.CANCELLED
    world.executor()
    (running,) = world.submit(judicator, world.new("sleep 600"))
    wait_until(lambda: world.store.counts().get("running"), what="a running task")
    assert world.ask(judicator, CancelTasks(task_ids=(running,))).results[0].answer == "requested"
    (task,) = world.finished(judicator, [running])
    assert (task.control.state, task.control.starts) == (State.CANCELLED, 1)
    answer = world.ask(judicator, CancelTasks(task_ids=(running,))).results[0]
    assert (answer.answer, answer.state) == ("finished", State.CANCELLED)


def test_a_wait_ends_with_the_task_or_with_its_time(world: World) -> None:
    judicator = world.judicator()
    (id,) = world.submit(judicator, world.new())
    replies = judicator.bus.call(GetTasks(task_ids=(id,), wait_s=30.0))
    late = judicator.bus.call(GetTasks(task_ids=(id,), wait_s=100.0))
    world.ask(judicator, Ping())  # both are taken in
    world.advance(31.0)
    (task,) = wait_until(replies, what="the end of the wait's time")[0].tasks
    assert task.control.state == State.PENDING
    assert not late()
    world.executor()
    (task,) = wait_until(late, what="the end of the task")[0].tasks
    assert task.control.state == State.SUCCEEDED
    assert len(replies()) == len(late()) == 1


def test_waits_for_nothing_and_for_no_time_are_answered_at_once(world: World) -> None:
    judicator = world.judicator()
    (id,) = world.submit(judicator, world.new())
    assert world.ask(judicator, GetTasks(task_ids=(), wait_s=30.0)).tasks == ()
    assert len(world.ask(judicator, GetTasks(task_ids=(id,), wait_s=float("nan"))).tasks) == 1
    assert world.ask(judicator, GetTasks(task_ids=("f" * 24,), wait_s=30.0)).tasks == ()


def test_executors_are_listed_once_somebody_leads(world: World) -> None:
    judicator = world.judicator(campaign=False)
    executor = world.executor()
    assert world.ask(judicator, ListExecutors()).detail == "a leader is being elected"
    judicator.coordination.campaign()

    def listed() -> bool:
        answer = world.ask(judicator, ListExecutors())
        return [view.executor for view in getattr(answer, "executors", ())] == [executor.name]

    wait_until(listed, what="the executor in the list")


def test_the_place_in_the_queue_is_told_to_who_asks_for_it(world: World) -> None:
    """Also to many at once who ask for different places, or for none."""
    judicator = world.judicator()
    ids = world.submit(judicator, *(world.new() for _ in range(3)))

    def queued() -> bool:
        place = getattr(world.ask(judicator, ListExecutors(place_of=ids[2])), "place", None)
        return place is not None and place.before == 2

    wait_until(queued, what="three in the queue")
    asked = [*ids, "", "f" * 24, ids[1]]
    calls = [judicator.bus.call(ListExecutors(place_of=of)) for of in asked]
    wait_until(lambda: all(call() for call in calls), what="every answer")
    places = [call()[0].place for call in calls]
    assert [place and place.before for place in places] == [0, 1, 2, None, None, 1]
    assert [place.waiting for place in places if place] == [3] * 5


def test_a_leader_of_an_older_version_answers_without_a_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for one gets the executors alone, and does not wait in vain."""
    monkeypatch.setattr(Scheduler, "place", lambda self, task_id: None)
    judicator = world.judicator()
    (id,) = world.submit(judicator, world.new())
    wait_until(lambda: isinstance(world.ask(judicator, ListExecutors()), ExecutorViews), what="a leader")
    calls = [judicator.bus.call(ListExecutors(place_of=of)) for of in (id, "", "f" * 24)]
    wait_until(lambda: all(call() for call in calls), what="every answer")
    assert [call()[0].place for call in calls] == [None] * 3


def test_a_refused_task_does_not_hold_up_its_neighbours(world: World) -> None:
    judicator = world.judicator()
    bad = replace(world.new(), id="not an id")
    good = world.new()
    answer = world.ask(judicator, SubmitTasks(tasks=(bad, good)))
    assert [(r.error_field, r.created) for r in answer.results] == [("id", False), ("", True)]


def test_a_journal_without_room_holds_everything_and_loses_nothing(world: World) -> None:
    judicator = world.judicator()
    executor = world.executor(slots=1)
    (running,) = world.submit(judicator, world.held())
    wait_until(lambda: world.store.counts().get("running"), what="a running task")
    world.journal.full = True
    (waiting,) = world.submit(judicator, world.new())
    wait_until(lambda: world.store.counts().get("assigned"), what="a task sent ahead")
    delivered = executor.bus.stats().delivered
    wait_until(lambda: executor.bus.stats().delivered > delivered + 50, what="some ticks")
    assert world.store.counts() == {"running": 1, "assigned": 1}
    world.journal.full = False
    world.let_go()
    assert [task.control.starts for task in world.finished(judicator, [running, waiting])] == [1, 1]
    assert not executor.gave_up


def test_a_journal_forgets_what_is_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an executor's memory after a start does not depend on how many tasks it ever ran."""
    monkeypatch.setattr("khala.actors.executor.COMPACT_BYTES", 2_000)
    sizes: list[tuple[int, int]] = []
    compact = Journal.compact

    def compacting(journal: Journal, keep: Sequence[JournalRecord]) -> None:
        before = journal.size_bytes
        compact(journal, keep)
        sizes.append((before, journal.size_bytes))

    monkeypatch.setattr(Journal, "compact", compacting)
    judicator = world.judicator()
    world.executor()
    for _ in range(5):
        ids = world.submit(judicator, *(world.new("echo something") for _ in range(30)))
        assert all(task.control.state == State.SUCCEEDED for task in world.finished(judicator, ids))
    assert any(after < before / 2 for before, after in sizes), "it was never short again"


def test_a_draining_executor_hands_back_what_has_not_started(world: World) -> None:
    judicator = world.judicator()
    first = world.executor(slots=1)
    ids = world.submit(judicator, *(world.held() for _ in range(2)))
    wait_until(lambda: world.store.counts().get("running") == 1, what="a running task")
    wait_until(lambda: world.store.counts().get("assigned") == 1, what="a task sent ahead")
    first.bus.send(f"{first.name}/executor", Drain())
    wait_until(lambda: not world.store.counts().get("assigned"), what="what it hands back")
    world.let_go()
    drained = world.drained
    wait_until(drained.is_set, what="the executor to have nothing in hand")
    second = world.executor(slots=1)
    tasks = world.finished(judicator, ids)
    assert {task.control.executor for task in tasks} == {first.name, second.name}
    assert [task.control.starts for task in tasks] == [1, 1]


def test_an_output_longer_than_is_kept_is_not_judged(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    command = Command(shell="head -c 70000000 /dev/zero", limits=Limits(output_bytes=100_000_000))
    new = world.new(expected_output=b"42")
    new = replace(new, spec=replace(new.spec, execute=command))
    (task,) = world.finished(judicator, world.submit(judicator, new))
    assert task.result and task.result.verdict == Verdict.NOT_JUDGED
    assert (
        task.control.reason == "not judged: the output of 70000000 bytes was not kept whole on the executor"
    )
