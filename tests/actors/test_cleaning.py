"""Removing what is over, through real actors: what its time has come for goes, and nothing else does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from actors.world import Node, World
from store.samples import task
from wait import wait_until

from khala.actors.unused_files import UnusedFiles
from khala.core.commands import GetTasks, NewTask, SubmitTasks
from khala.core.dependencies import Dependency
from khala.core.output import OutputChunk, StreamKey
from khala.core.retention import Retention
from khala.core.task import InputFile, State
from khala.store.memory_calls import StoreFault

LONG_OUTPUT = "head -c 200000 /dev/zero"


def stored(world: World, ids: Sequence[str]) -> list[bool]:
    found = {task.id for task in world.store.read(ids, "minimal")}
    return [id in found for id in ids]


def purged(world: World, ids: Sequence[str]) -> bool:
    return not any(stored(world, ids)) and set(world.store.standings(ids)) == set(ids)


def run(world: World, judicator: Node, *tasks: NewTask) -> list[str]:
    ids = world.submit(judicator, *tasks)
    world.finished(judicator, ids)
    return ids


def test_a_task_goes_when_its_owner_wanted_and_its_key_stays(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    soon, later, ever = (
        world.new(LONG_OUTPUT, ttl_after_finished_s=0.0),
        world.new(ttl_after_finished_s=1e6),
        world.new(),
    )
    ids = world.submit(judicator, soon, later, ever)
    world.finished(judicator, ids[1:])
    wait_until(lambda: purged(world, ids[:1]), what="the purge")
    key = StreamKey(task_id=ids[0], attempt=1, phase="execute", stream="stdout")
    wait_until(lambda: world.store.read_output(key, 0, 1) == b"", what="its output to be gone")
    assert stored(world, ids[1:]) == [True, True]
    answer = world.ask(judicator, SubmitTasks(tasks=(later, ever)))
    assert [result.created for result in answer.results] == [False, False]
    assert world.ask(judicator, GetTasks(task_ids=(ids[0],))).tasks == ()


def test_the_setting_counts_for_all_others_and_then_keys_are_forgotten(world: World) -> None:
    world.keep = Retention(finished_s=0.5, keys_s=0.5)
    judicator = world.judicator()
    world.executor()
    ids = run(world, judicator, *(world.new(ttl_after_finished_s=ttl) for ttl in (None, 1e6, None)))
    wait_until(lambda: stored(world, ids) == [False, True, False], what="the purge")
    wait_until(lambda: set(world.store.standings(ids)) == {ids[1]}, what="the keys to be forgotten")
    assert not world.store._tasks._tombstones and set(world.store._removals.tasks) == {ids[1]}


def test_a_tombstone_stays_while_a_task_may_wait_for_it(world: World) -> None:
    world.keep = Retention(finished_s=0.1, keys_s=0.1)
    judicator = world.judicator()
    executor = world.executor()
    first = world.new("true")
    (id,) = run(world, judicator, first)
    blocked = world.new("true", constraints={"place": "nowhere"}, depends_on=(Dependency(task_id=id),))
    (waiting,) = world.submit(judicator, blocked)
    wait_until(lambda: purged(world, [id]), what="the purge")
    looked = world.trouble.calls["due_tasks"]
    wait_until(lambda: world.trouble.calls["due_tasks"] > looked + 20, what="the cleaner to look again")
    assert dict(world.store.standings([id, waiting])) == {id: State.SUCCEEDED, waiting: State.PENDING}
    assert not executor.gave_up


def test_what_is_open_stays_and_a_new_leader_goes_on(world: World) -> None:
    world.keep = Retention(finished_s=0.1, keys_s=None)
    judicator = world.judicator()
    world.executor()
    pending = world.submit(judicator, world.new(constraints={"place": "nowhere"}))
    world.trouble.always["purge_tasks"] = StoreFault.UNAVAILABLE
    ids = run(world, judicator, world.new(), world.new())
    other = world.judicator()
    judicator.coordination.resign()
    wait_until(lambda: world.store.holder == other.name, what="another leader")
    del world.trouble.always["purge_tasks"]
    wait_until(lambda: purged(world, ids), what="the purge by the new leader")
    assert stored(world, pending) == [True]


def test_late_output_of_what_is_gone_is_swept(world: World) -> None:
    key = StreamKey(task_id="f" * 24, attempt=1, phase="execute", stream="stdout")
    world.store.put_output([OutputChunk(key=key, offset=0, data=b"late")])
    world.judicator()
    wait_until(lambda: world.store.read_output(key, 0, 9) == b"", what="the sweep")


def test_files_go_when_nothing_refers_to_them(world: World) -> None:
    def put(content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        world.store.put_file(sha256, len(content), iter([content]))
        return sha256

    world.keep = Retention(files_s=0.05)
    used, kept, unused = put(b"used"), put(b"kept"), put(b"unused")
    world.store.insert([task(99, inputs=(InputFile(path="in", file_id=kept),))])
    judicator = world.judicator()
    (id,) = world.submit(
        judicator,
        world.new(
            constraints={"place": "nowhere"},
            inputs=(InputFile(path="in", file_id=used),),
        ),
    )
    files = world.store._files
    wait_until(lambda: unused not in files, what="the file to be removed")
    rounds = world.trouble.calls["sweep_uploads"]
    wait_until(lambda: world.trouble.calls["sweep_uploads"] > rounds + 3, what="more rounds")
    assert set(files) == {used, kept} and stored(world, [id]) == [True]


def test_a_file_that_is_used_meanwhile_stays(world: World) -> None:
    content = b"used again"
    sha256 = hashlib.sha256(content).hexdigest()
    world.store.put_file(sha256, len(content), iter([content]))
    collecting = UnusedFiles(world.store, kept_s=1.0)
    assert collecting.step(1e9, 0.0), "it looks"
    for method in ("tasks", "jobs"):
        assert collecting.step(1e9, 0.0), method
    world.store.touch_files([sha256])
    while collecting.step(1e9, 0.0):
        continue
    assert collecting.removed == 0 and world.store.has_file(sha256)
    while collecting.step(1e9, 10.0):
        continue
    assert collecting.removed == 1 and not world.store.has_file(sha256)
