"""Who may come in, how much is taken at a time, and that every caller gets exactly one answer."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from actors.world import Node, World
from wait import wait_until

from khala.actors import front_door
from khala.actors.uploads import CHUNK_BYTES, FILE_BYTES, IDLE_S
from khala.core.access import token_digest
from khala.core.commands import (
    Caller,
    CancelTasks,
    CountTasks,
    GetTasks,
    ListExecutors,
    NotAvailable,
    Ping,
    Refused,
    SubmitTasks,
    TaskCounts,
    TasksAccepted,
)
from khala.core.transfers import GetFileChunk, PutFileChunk
from khala.store.memory_calls import StoreFault


def with_token(world: World, token: str, role: str) -> Caller:
    world.store.create_token(token_digest(token), token, role)
    return Caller(token=token)


def test_commands_need_a_known_token_of_a_role_that_may(world: World) -> None:
    judicator = world.judicator(secured=True)
    admin = with_token(world, "good", "admin")
    executor = with_token(world, "of a node", "executor")
    assert world.ask(judicator, CountTasks()).code == "unauthorized"
    assert world.ask(judicator, CountTasks(caller=Caller(token="bad"))).code == "unauthorized"
    assert isinstance(world.ask(judicator, CountTasks(caller=admin)), TaskCounts)
    assert world.ask(judicator, CountTasks(caller=executor)).code == "forbidden"
    get = GetFileChunk(sha256="0" * 64, offset=0, length=1, caller=executor)
    assert world.ask(judicator, get).code == "not_found"
    assert world.ask(judicator, Ping()).secured


def test_a_token_is_looked_up_once_for_all_and_again_after_a_while(world: World) -> None:
    judicator = world.judicator(secured=True)
    admin = with_token(world, "good", "admin")
    world.trouble.hold("identify")
    calls = [judicator.bus.call(CountTasks(caller=admin)) for _ in range(20)]
    wait_until(lambda: world.trouble.calls["identify"], what="the look-up")
    world.trouble.let_go("identify")
    for replies in calls:
        assert isinstance(wait_until(replies)[0], TaskCounts)
    assert world.trouble.calls["identify"] == 1
    world.advance(11.0)
    assert isinstance(world.ask(judicator, CountTasks(caller=admin)), TaskCounts)
    assert world.trouble.calls["identify"] == 2


def test_a_store_that_cannot_say_whose_token_it_is_makes_nobody_wait(world: World) -> None:
    judicator = world.judicator(secured=True)
    world.trouble.always["identify"] = StoreFault.UNAVAILABLE
    assert isinstance(world.ask(judicator, CountTasks(caller=Caller(token="x"))), NotAvailable)


def test_a_reader_that_fails_while_it_looks_a_token_up_is_asked_again(world: World) -> None:
    judicator = world.judicator(secured=True)
    admin = with_token(world, "good", "admin")
    world.trouble.crash["identify"] = 1
    replies = judicator.bus.call(CountTasks(caller=admin))
    assert isinstance(wait_until(replies)[0], TaskCounts)
    assert not judicator.gave_up


def test_commands_are_taken_by_rpc_only(world: World) -> None:
    judicator, executor = world.judicator(), world.executor()
    wait_until(lambda: judicator.name in executor.bus.peers(), what="the connection")
    stray = SubmitTasks(tasks=(world.new(),))
    executor.bus.send(f"{judicator.name}/judicator", stray, sender="executor")
    (id,) = world.submit(judicator, world.new("sleep 600"))
    executor.bus.send(f"{judicator.name}/submissions", CancelTasks(task_ids=(id,)), sender="executor")
    received = judicator.bus.stats().received
    wait_until(lambda: judicator.bus.stats().received > received, what="more from the executor")
    assert len(world.ask(judicator, GetTasks(task_ids=(stray.tasks[0].id, id))).tasks) == 1
    assert not world.ask(judicator, GetTasks(task_ids=(id,))).tasks[0].control.cancel_requested


def test_many_submits_are_few_writes(world: World) -> None:
    judicator = world.judicator()
    world.submit(judicator, world.new())
    before = world.trouble.calls["insert"]
    world.trouble.hold("insert")
    first = judicator.bus.call(SubmitTasks(tasks=(world.new(),)))
    wait_until(lambda: world.trouble.calls["insert"] == before + 1, what="the first write")
    calls = [judicator.bus.call(SubmitTasks(tasks=(world.new(),))) for _ in range(300)]
    world.ask(judicator, Ping())
    world.trouble.let_go("insert")
    for replies in [first, *calls]:
        assert wait_until(replies)[0].results[0].created
    assert world.trouble.calls["insert"] <= before + 3


def test_small_reads_are_gathered(world: World) -> None:
    judicator = world.judicator()
    ids = world.submit(judicator, *(world.new("sleep 600") for _ in range(60)))
    world.trouble.hold("read")
    calls = [judicator.bus.call(GetTasks(task_ids=(id,))) for id in ids]
    wait_until(lambda: world.trouble.calls["read"], what="the first read")
    world.ask(judicator, Ping())
    before = world.trouble.calls["read"]
    world.trouble.let_go("read")
    for id, replies in zip(ids, calls, strict=True):
        assert [task.id for task in wait_until(replies)[0].tasks] == [id]
    assert world.trouble.calls["read"] <= before + 12


def test_cancels_are_gathered_too(world: World) -> None:
    judicator = world.judicator()
    ids = world.submit(judicator, *(world.new() for _ in range(50)))
    world.trouble.hold("request_cancel")
    calls = [judicator.bus.call(CancelTasks(task_ids=(id,))) for id in ids]
    wait_until(lambda: world.trouble.calls["request_cancel"], what="the first write")
    world.ask(judicator, Ping())
    world.trouble.let_go("request_cancel")
    assert {wait_until(replies)[0].results[0].answer for replies in calls} == {"requested"}
    assert world.trouble.calls["request_cancel"] <= 3


def test_too_much_at_a_time_is_sent_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cap = front_door.Cap(items=10, size_bytes=1 << 20)
    monkeypatch.setitem(front_door.CAPS, "submissions", cap)
    judicator = world.judicator()
    world.trouble.hold("insert")
    calls = [judicator.bus.call(SubmitTasks(tasks=(world.new(), world.new()))) for _ in range(8)]
    sent_away = [wait_until(replies)[0] for replies in calls[5:]]
    assert all(isinstance(answer, NotAvailable) and answer.retry_after_s > 0 for answer in sent_away)
    assert not any(answer.outcome_unknown for answer in sent_away)
    world.trouble.let_go("insert")
    assert all(isinstance(wait_until(replies)[0], TasksAccepted) for replies in calls[:5])
    world.submit(judicator, world.new())


def test_a_store_in_trouble_is_told_to_the_caller(world: World) -> None:
    judicator = world.judicator()
    new = world.new()
    world.trouble.next["insert"] = [StoreFault.UNAVAILABLE, StoreFault.UNKNOWN_APPLIED]
    assert not world.ask(judicator, SubmitTasks(tasks=(new,))).outcome_unknown
    assert world.ask(judicator, SubmitTasks(tasks=(new,))).outcome_unknown
    assert len(world.ask(judicator, GetTasks(task_ids=(new.id,))).tasks) == 1
    world.trouble.next["request_cancel"] = [StoreFault.UNKNOWN_NOT_APPLIED]
    assert world.ask(judicator, CancelTasks(task_ids=(new.id,))).outcome_unknown


def test_a_fault_while_writing_answers_every_caller_once(world: World) -> None:
    judicator = world.judicator()
    world.trouble.hold("insert")
    world.trouble.crash["insert"] = 1
    first = judicator.bus.call(SubmitTasks(tasks=(world.new(),)))
    wait_until(lambda: world.trouble.calls["insert"], what="the write")
    queued = [judicator.bus.call(SubmitTasks(tasks=(world.new(),))) for _ in range(5)]
    world.ask(judicator, Ping())
    world.trouble.let_go("insert")
    assert wait_until(first)[0].outcome_unknown
    assert not any(wait_until(replies)[0].outcome_unknown for replies in queued)
    wait_until(lambda: isinstance(_try(world, judicator), TasksAccepted), what="a working actor")
    assert [len(replies()) for replies in [first, *queued]] == [1] * 6


def _try(world: World, judicator: Node) -> object:
    return world.ask(judicator, SubmitTasks(tasks=(world.new(),)))


def test_a_fault_in_a_query_is_that_querys_trouble(world: World) -> None:
    judicator = world.judicator()
    world.trouble.crash["counts"] = 1
    assert world.ask(judicator, CountTasks()).outcome_unknown
    wait_until(lambda: isinstance(world.ask(judicator, CountTasks()), TaskCounts), what="a new reader")


def test_whoever_waits_when_the_node_stops_is_told(world: World) -> None:
    judicator = world.judicator()
    (id,) = world.submit(judicator, world.new())
    replies = judicator.bus.call(GetTasks(task_ids=(id,), wait_s=100.0))
    world.ask(judicator, Ping())
    judicator.supervisor.stop(timeout=60)
    assert "stopping" in replies()[0].detail


def test_the_leader_that_does_not_answer_is_not_waited_for(world: World) -> None:
    judicator = world.judicator()
    wait_until(lambda: world.ask(judicator, Ping()).ready, what="a leader")
    judicator.bus.set_leader("gone")
    judicator.bus.set_peers({"gone": "gone:1"})
    replies = judicator.bus.call(ListExecutors())
    world.ask(judicator, Ping())
    world.clock.advance(2.0)
    world.clock.advance(2.0)
    assert "in time" in wait_until(replies)[0].detail


# --- uploads -----------------------------------------------------------------------------------------


def put(content: bytes, start: int, end: int, **changed: object) -> PutFileChunk:
    fields = {"upload_id": "u", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return PutFileChunk(**{**fields, "offset": start, "data": content[start:end], **changed})  # type: ignore[arg-type]


def spools(world: World) -> int:
    """How many unfinished uploads are on disk."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing itself
            links.append(str(entry.readlink()))
    return sum(str(world.folder) in link and "deleted" in link for link in links)


def test_chunks_in_order_make_a_file(world: World) -> None:
    judicator = world.judicator()
    data = bytes(range(256)) * 8192
    sha256 = hashlib.sha256(data).hexdigest()
    assert not world.ask(judicator, put(data, 0, CHUNK_BYTES)).complete
    assert not world.ask(judicator, put(data, 0, CHUNK_BYTES)).complete, "the last one once more"
    world.trouble.next["put_file"] = [StoreFault.UNAVAILABLE]
    assert isinstance(world.ask(judicator, put(data, CHUNK_BYTES, len(data))), NotAvailable)
    assert world.ask(judicator, put(data, CHUNK_BYTES, len(data))).complete
    assert world.ask(judicator, put(data, CHUNK_BYTES, len(data))).complete, "its answer was lost"
    assert world.store.read_file(sha256, 0, len(data)) == (len(data), data)
    assert world.ask(judicator, put(data, 0, 10, upload_id="v")).complete, "it is stored already"
    assert world.ask(judicator, put(b"", 0, 0, upload_id="w")).complete


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"offset": 20}, "conflict"),
        ({"size": 50}, "conflict"),
        ({"sha256": "0" * 64}, "conflict"),
        ({"size": FILE_BYTES + 1}, "too_large"),
        ({"data": bytes(CHUNK_BYTES + 1), "size": CHUNK_BYTES * 2}, "too_large"),
        ({"offset": 95}, "invalid"),
        ({"offset": -1}, "invalid"),
        ({"data": b""}, "invalid"),
        ({"upload_id": ""}, "invalid"),
    ],
)
def test_a_wrong_chunk_is_refused(world: World, changed: dict[str, object], code: str) -> None:
    judicator = world.judicator()
    data = bytes(100)
    assert not world.ask(judicator, put(data, 0, 10)).complete
    assert world.ask(judicator, put(data, 10, 20, **changed)).code == code


def test_a_wrong_digest_is_refused_and_an_idle_upload_is_forgotten(world: World) -> None:
    judicator = world.judicator()
    data = b"some data"
    assert isinstance(world.ask(judicator, put(data, 0, 9, sha256="0" * 64)), Refused)
    assert not world.ask(judicator, put(data, 0, 4)).complete
    assert spools(world) == 1
    world.advance(IDLE_S + 1)
    wait_until(lambda: spools(world) == 0, what="the upload to be forgotten")
    assert world.ask(judicator, put(data, 4, 9)).code == "conflict"
    assert not world.ask(judicator, put(data, 0, 4)).complete
    assert world.ask(judicator, put(data, 4, 9)).complete
