"""Output files from the workspace into the store, before the outcome is told."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from actors.world import Node, World
from wait import wait_until

from khala.core.commands import NewTask
from khala.core.task import TERMINAL, ExitReason, OutputGlob, State, Task
from khala.store.memory_calls import StoreFault

BIG = 2_500_000


@pytest.fixture
def judicator(world: World) -> Node:
    return world.judicator()


def asking(world: World, shell: str, *globs: str, **spec: Any) -> NewTask:
    return world.new(shell, outputs=tuple(OutputGlob(glob=glob, needed=True) for glob in globs), **spec)


def contents(world: World, task: Task) -> dict[str, bytes]:
    """The files of a task as they are stored."""
    assert task.result is not None, task.control
    found = {}
    for file in task.result.outputs:
        size, data = world.store.read_file(file.sha256, 0, 1 << 30)
        assert size == len(data) == file.size and hashlib.sha256(data).hexdigest() == file.sha256
        found[file.path] = data
    return found


def test_files_are_stored_and_the_spool_is_dropped(world: World, judicator: Node) -> None:
    world.executor()
    shell = (
        f"mkdir out; head -c {BIG} /dev/urandom > out/big; echo a > out/a; echo a > out/same; : > out/none"
    )
    (task,) = world.finished(judicator, world.submit(judicator, asking(world, shell, "out/*")))
    assert task.control.state == State.SUCCEEDED
    found = contents(world, task)
    assert {path: len(data) for path, data in found.items()} == {
        "out/a": 2, "out/big": BIG, "out/none": 0, "out/same": 2,
    }  # fmt: skip
    wait_until(lambda: not any(world.folder.glob("*.spool/*")), what="the spool is dropped")


def test_files_and_long_output_of_one_attempt(world: World, judicator: Node) -> None:
    world.executor()
    shell = "seq 1 30000; echo x > f"
    (task,) = world.finished(judicator, world.submit(judicator, asking(world, shell, "f")))
    assert contents(world, task) == {"f": b"x\n"}
    assert task.result and task.result.execute
    stdout = task.result.execute.stdout
    assert stdout.stored_bytes == stdout.size > 100_000


def test_no_outcome_settles_before_its_files_are_stored(world: World, judicator: Node) -> None:
    world.executor()
    world.trouble.always["put_file"] = StoreFault.UNAVAILABLE
    long_id, short_id = world.submit(judicator, asking(world, "echo x > f", "f"), world.new("true"))
    world.finished(judicator, [short_id])
    wait_until(lambda: world.trouble.calls["put_file"] > 4, what="tried again")
    assert world.store.read([long_id])[0].control.state not in TERMINAL
    world.trouble.always.clear()
    (task,) = world.finished(judicator, [long_id])
    assert contents(world, task) == {"f": b"x\n"}


@pytest.mark.parametrize("fault", [StoreFault.UNKNOWN_APPLIED, StoreFault.UNKNOWN_NOT_APPLIED])
def test_a_write_of_unknown_fate_is_tried_again(world: World, judicator: Node, fault: StoreFault) -> None:
    world.executor()
    world.trouble.next["put_file"] = [fault, StoreFault.UNAVAILABLE]
    shell = f"head -c {BIG} /dev/zero > f"
    (task,) = world.finished(judicator, world.submit(judicator, asking(world, shell, "f")))
    assert contents(world, task) == {"f": bytes(BIG)}


def test_a_spool_that_changed_is_told_as_lost(world: World, judicator: Node) -> None:
    """As after a crash of the host, when a file has its length and not its bytes."""
    world.executor()
    world.trouble.always["has_file"] = StoreFault.UNAVAILABLE
    ids = world.submit(judicator, asking(world, "echo x > f", "f"))
    wait_until(lambda: world.trouble.calls["has_file"] > 1, what="tried")
    (spool,) = world.folder.glob("*.spool/*/outputs")
    spool.write_bytes(b"y\n")
    world.trouble.always.clear()
    (task,) = world.finished(judicator, ids)
    assert (task.control.state, task.control.exit_reason) == (State.FAILED, ExitReason.INTERNAL_ERROR)
    assert task.control.reason == "1 output files were lost with their spool, the first: 'f'"
    assert contents(world, task) == {}


def test_a_required_output_that_lacks_fails_the_task(world: World, judicator: Node) -> None:
    world.executor()
    (task,) = world.finished(judicator, world.submit(judicator, asking(world, "true", "f")))
    assert (task.control.state, task.control.exit_reason) == (State.FAILED, ExitReason.SETUP_FAILED)
    assert task.control.reason == "required outputs are lacking: 'f'"
