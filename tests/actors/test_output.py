"""Output's way: from a real command by spool and delivery into the store, before its outcome (P6)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from actors.world import Node, World
from store.samples import task
from wait import wait_until

from khala.core.access import token_digest
from khala.core.commands import Caller, GetTasks, NotAvailable, Ping, Refused
from khala.core.output import CHUNK_BYTES, OutputChunk, StreamKey, capture_of
from khala.core.task import TERMINAL, Epoch, State, Task
from khala.core.transfers import GetOutput, OutputPart, OutputStored, PutOutput
from khala.errors import Fault
from khala.store.memory_calls import StoreFault


@pytest.fixture
def judicator(world: World) -> Node:
    """One that leads; it knows the task of `piece`, whose output it would sweep otherwise."""
    world.store.insert([replace(task(1, constraints={"place": "nowhere"}), id=TASK)])
    return world.judicator()


TASK = "a" * 24
LINES = b"".join(b"line %d\n" % number for number in range(1, 300_001))
LONG = "seq -f 'line %.0f' 1 300000"


def stored(world: World, task_id: str, attempt: int = 1, stream: str = "stdout") -> bytes:
    key = StreamKey(task_id=task_id, attempt=attempt, phase="execute", stream=stream)
    return world.store.read_output(key, 0, 1 << 30)


def state_of(world: World, task_id: str) -> State:
    return world.store.read([task_id])[0].control.state


def check_whole(task: Task, whole: bytes) -> None:
    capture = capture_of(task.result, "execute", "stdout")
    assert capture is not None
    assert (capture.size, capture.stored_bytes, capture.truncated) == (len(whole), len(whole), False)
    assert capture.sha256 == hashlib.sha256(whole).hexdigest()


def test_a_long_output_is_stored_whole(world: World, judicator: Node) -> None:
    world.executor()
    (task_id,) = world.submit(judicator, world.new(LONG))
    (task,) = world.finished(judicator, [task_id])
    check_whole(task, LINES)
    assert stored(world, task_id) == LINES
    wait_until(lambda: not any(world.folder.glob("*.spool/*")), what="the spool is dropped")


def test_output_is_stored_while_its_task_runs(world: World, judicator: Node) -> None:
    world.executor()
    (task_id,) = world.submit(judicator, world.new("echo now; echo not >&2; exec sleep 600"))
    wait_until(lambda: stored(world, task_id) == b"now\n", what="live output")
    wait_until(lambda: stored(world, task_id, stream="stderr") == b"not\n", what="live output")
    wait_until(lambda: state_of(world, task_id) == State.RUNNING, what="its start is recorded, maybe after")


def test_no_outcome_settles_before_its_output_is_stored(world: World, judicator: Node) -> None:
    """A store that takes tasks and no output: the task waits, and nothing else does."""
    world.executor()
    world.trouble.always["put_output"] = StoreFault.UNAVAILABLE
    long_id, short_id = world.submit(judicator, world.new(LONG), world.new("echo short"))
    world.finished(judicator, [short_id])
    wait_until(lambda: world.trouble.calls["put_output"] > 8, what="tried again")
    assert state_of(world, long_id) not in TERMINAL
    world.trouble.always.clear()
    (task,) = world.finished(judicator, [long_id])
    check_whole(task, LINES)
    assert stored(world, long_id) == LINES


@pytest.mark.parametrize("fault", [StoreFault.UNKNOWN_APPLIED, StoreFault.UNKNOWN_NOT_APPLIED])
def test_writes_of_unknown_fate_are_sent_again(world: World, judicator: Node, fault: StoreFault) -> None:
    world.executor()
    world.trouble.next["put_output"] = [fault, StoreFault.UNAVAILABLE, fault]
    (task_id,) = world.submit(judicator, world.new(LONG))
    check_whole(world.finished(judicator, [task_id])[0], LINES)
    assert stored(world, task_id) == LINES


def test_a_crashed_store_actor_loses_no_output(world: World, judicator: Node) -> None:
    world.executor()
    world.trouble.crash["put_output"] = 2
    (task_id,) = world.submit(judicator, world.new(LONG))
    check_whole(world.finished(judicator, [task_id])[0], LINES)
    assert stored(world, task_id) == LINES


def test_pieces_are_written_in_batches(world: World, judicator: Node) -> None:
    """Many small ones that came while a write was in flight go as one."""
    world.trouble.hold("put_output")
    puts = [piece(attempt=number + 1) for number in range(100)]
    calls = [judicator.bus.call(put) for put in puts]
    wait_until(lambda: world.trouble.calls["put_output"] == 1, what="the first write")
    world.ask(judicator, Ping())  # what came before it is handed on
    world.trouble.let_go("put_output")
    wait_until(lambda: all(call() for call in calls), what="all answers")
    assert world.trouble.calls["put_output"] <= 3


def piece(offset: int = 0, data: bytes = b"data", **other: object) -> PutOutput:
    plain = {"task_id": TASK, "attempt": 1, "phase": "execute", "stream": "stdout"}
    return PutOutput(**{**plain, "offset": offset, "data": data, **other})


@pytest.mark.parametrize(
    ("put", "field"),
    [
        (piece(task_id="x"), "task_id"),
        (piece(attempt=0), "attempt"),
        (piece(phase="link"), "phase"),
        (piece(stream="stdin"), "stream"),
        (piece(offset=-1), "offset"),
        (piece(data=bytes(CHUNK_BYTES + 1)), "data"),
    ],
)
def test_a_malformed_piece_is_refused(world: World, judicator: Node, put: PutOutput, field: str) -> None:
    answer = world.ask(judicator, put)
    assert isinstance(answer, Refused)
    assert answer.field == field


def test_a_gap_is_answered_with_the_offset_wanted(world: World, judicator: Node) -> None:
    assert world.ask(judicator, piece(5)) == OutputStored(next_offset=0)
    assert world.ask(judicator, piece(0, b"01234")) == OutputStored(next_offset=5)
    assert world.ask(judicator, piece(0, b"01234")) == OutputStored(next_offset=5)
    assert world.ask(judicator, piece(9)) == OutputStored(next_offset=5)


def test_output_of_another_generation_is_refused(world: World, judicator: Node) -> None:
    """A restored store uses the numbers of lost attempts anew (P4). A version before names no epoch."""
    own = world.store.generation()
    for generation in (own + 1, own + 2):
        answer = world.ask(judicator, piece(epoch=Epoch(generation, 1)))
        assert isinstance(answer, Refused)
        assert (answer.code, answer.field) == ("superseded", "epoch")
    assert world.ask(judicator, piece(0, b"01234", epoch=Epoch(own, 99))) == OutputStored(next_offset=5)
    assert world.ask(judicator, piece(5, b"5")) == OutputStored(next_offset=6)
    assert stored(world, TASK) == b"012345"


def test_one_batch_of_two_generations(world: World, judicator: Node) -> None:
    """Each piece gets its own answer."""
    own = world.store.generation()
    world.trouble.hold("put_output")
    first = judicator.bus.call(piece(attempt=9))
    wait_until(lambda: world.trouble.calls["put_output"] == 1, what="the first write")
    epochs = [Epoch(own + number % 2, 1) for number in range(6)]
    calls = [judicator.bus.call(piece(attempt=n + 1, epoch=epoch)) for n, epoch in enumerate(epochs)]
    world.ask(judicator, Ping())
    world.trouble.let_go("put_output")
    wait_until(lambda: all(call() for call in [first, *calls]), what="all answers")
    kinds = [type(call()[0]) for call in calls]
    assert kinds == [OutputStored, Refused] * 3


def test_a_judicator_that_does_not_know_the_call_gets_it_again(world: World, judicator: Node) -> None:
    """Executors that are upgraded before their judicators: the outcome waits for its output, and nothing is
    lost or cut; what has no such output goes on."""
    world.put_fault = Fault("put_output failed at the judicator: unknown method")
    world.executor()
    long_id, short_id = world.submit(judicator, world.new(LONG), world.new("echo short"))
    world.finished(judicator, [short_id])
    wait_until(lambda: world.puts_failed > 4, what="tries")
    assert state_of(world, long_id) not in TERMINAL
    world.put_fault = None
    check_whole(world.finished(judicator, [long_id])[0], LINES)
    assert stored(world, long_id) == LINES


def test_only_executors_may_put_output(world: World) -> None:
    judicator = world.judicator(secured=True)
    for role in ("admin", "executor"):
        world.store.create_token(token_digest(role), role, role)
    refused = world.ask(judicator, piece(caller=Caller(token="admin")))
    assert isinstance(refused, Refused)
    assert refused.code == "forbidden"
    assert world.ask(judicator, piece(caller=Caller(token="executor"))) == OutputStored(next_offset=4)
    assert world.ask(judicator, GetTasks(task_ids=(), caller=Caller(token="executor"))).code == "forbidden"


# --- reading --------------------------------------------------------------------------------------


def get(task_id: str, offset: int = 0, *, length: int = 1 << 20, **other: Any) -> GetOutput:
    plain = {"task_id": task_id, "attempt": 0, "phase": "execute", "stream": "stdout"}
    return GetOutput(offset=offset, length=length, **{**plain, **other})


def read_all(world: World, node: Node, task_id: str, **other: Any) -> bytes:
    """Follow a stream to its end."""
    data = b""
    while True:
        part = world.ask(node, get(task_id, len(data), wait_s=30.0, **other))
        assert isinstance(part, OutputPart), part
        assert part.offset == len(data)
        data += part.data
        if part.complete and len(data) >= part.size:
            return data


@pytest.mark.parametrize("command", [LONG, "echo short", "true"])
def test_a_stream_is_followed_to_its_end(world: World, judicator: Node, command: str) -> None:
    """From before its task has an executor."""
    (task_id,) = world.submit(judicator, world.new(command))
    first = judicator.bus.call(get(task_id, wait_s=30.0))
    world.executor()
    data = read_all(world, judicator, task_id)
    assert data == {LONG: LINES, "echo short": b"short\n", "true": b""}[command]
    wait_until(first, what="the first one's answer")
    assert first()[0].attempt == 1
    part = world.ask(judicator, get(task_id, 2, length=3))
    assert (part.data, part.size, part.written) == (data[2:5], len(data), len(data))
    assert (part.complete, part.state, part.newest) == (True, State.SUCCEEDED, 1)
    assert read_all(world, judicator, task_id, stream="stderr") == b""
    assert read_all(world, judicator, task_id, phase="compile") == b""


def test_a_follower_hears_of_more_at_once(world: World, judicator: Node) -> None:
    world.executor()
    (task_id,) = world.submit(judicator, world.new("echo one; read line; echo two; exec sleep 600"))
    part = world.ask(judicator, get(task_id, wait_s=30.0))
    assert (part.data, part.complete, part.state) == (b"one\ntwo\n"[: part.size], False, part.state)
    assert world.ask(judicator, get(task_id, 0, attempt=1)).data.startswith(b"one\n")


def test_a_wait_without_news_ends_in_time(world: World, judicator: Node) -> None:
    (task_id,) = world.submit(judicator, world.new("true"))
    part = world.ask(judicator, get(task_id, wait_s=0.3))
    assert (part.attempt, part.data, part.complete, part.state) == (0, b"", False, State.PENDING)


def test_what_another_judicator_stored_is_found(world: World, judicator: Node) -> None:
    """No message tells: it is looked for."""
    (task_id,) = world.submit(judicator, world.new("true"))
    answer = judicator.bus.call(get(task_id, attempt=1, wait_s=30.0))
    world.ask(judicator, Ping())
    key = StreamKey(task_id=task_id, attempt=1, phase="execute", stream="stdout")
    world.store.put_output([OutputChunk(key=key, offset=0, data=b"elsewhere")])
    wait_until(answer, what="the answer")
    assert answer()[0].data == b"elsewhere"


def test_a_lost_attempt_is_complete_and_apart_from_the_next(world: World, judicator: Node) -> None:
    first = world.executor(slots=1)
    (task_id,) = world.submit(judicator, world.new("echo from attempt $KHALA_ATTEMPT; exec sleep 600"))
    wait_until(lambda: stored(world, task_id) == b"from attempt 1\n", what="the first attempt's output")
    follower = judicator.bus.call(get(task_id, 15, attempt=1, wait_s=30.0))
    first.coordination.close()
    world.executor(slots=1)
    wait_until(follower, what="the end of the first attempt")
    assert (follower()[0].data, follower()[0].complete, follower()[0].size) == (b"", True, 15)
    wait_until(lambda: stored(world, task_id, 2) == b"from attempt 2\n", what="the second's")
    assert world.ask(judicator, get(task_id, attempt=1)).data == b"from attempt 1\n"
    newest = world.ask(judicator, get(task_id))
    assert (newest.attempt, newest.newest, newest.data, newest.complete) == (2, 2, b"from attempt 2\n", False)


def test_what_cannot_be_read_is_refused(world: World, judicator: Node) -> None:
    world.executor()
    (task_id,) = world.submit(judicator, world.new("true"))
    world.finished(judicator, [task_id])
    for asked, code in ((get("f" * 24), "not_found"), (get(task_id, attempt=2), "not_found"),
                        (get("x"), "invalid"), (get(task_id, -1), "invalid")):  # fmt: skip
        answer = world.ask(judicator, asked)
        assert isinstance(answer, Refused)
        assert answer.code == code
    world.trouble.always["read"] = StoreFault.UNAVAILABLE
    assert isinstance(world.ask(judicator, get(task_id)), NotAvailable)
