"""What a launcher and its zygote do between two attempts: objects left behind, folders removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from execution.harness import FIND, MAKERS, Bench, executed, new_root, opened, python, script
from idle import is_next
from wait import wait_until

from khala.execution.launching.ended import NEXT, Ended
from khala.execution.launching.ready import Ready


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has an IPC namespace for each slot")
@pytest.mark.parametrize("maker", sorted(MAKERS))
def test_no_object_is_left_for_the_next_attempt(bench: Bench, maker: str) -> None:
    made = executed(bench.run(script(python(f"print({MAKERS[maker]})"))))
    assert int(made.stdout.head) >= 0, made.stderr.head
    found = executed(bench.run(script(python(FIND))))
    assert found.stdout.head == b"-1 -1 -1 -1\n", found.stderr.head


def test_a_namespace_that_nothing_was_made_in_stays(bench: Bench) -> None:
    names = {bench.text("readlink /proc/self/ns/ipc") for _ in range(3)}
    assert len(names) == 1


def test_emptied_workspaces_are_removed_soon_and_their_folder_at_the_end(open_folder: Path) -> None:
    root = new_root(open_folder)
    bench = opened(root)
    ended = Path(f"{root}.ended")
    try:
        for command in ("true", "mkdir -p a/b; echo c > a/b/c", "chmod 0 ."):
            bench.run(script(command))
            assert list(root.iterdir()) == []
        wait_until(lambda: all(map(is_next, ended.iterdir())), what="they are removed")
    finally:
        bench.pool.close()
    assert not ended.exists()


def test_the_next_workspace_is_ready_before_its_attempt(open_folder: Path) -> None:
    root = new_root(open_folder)
    bench = opened(root)
    ended = Path(f"{root}.ended")

    def ready() -> list[int]:
        return [path.stat().st_ino for path in ended.glob(f"{NEXT}0-*")]

    try:
        for _ in range(3):
            uid = bench.text("id -u").strip()
            wait_until(ready, what="a workspace is ready")
            (inode,) = ready()
            assert bench.text("stat -c '%i %a %u' .").split() == [str(inode), "700", uid]
    finally:
        bench.pool.close()


def test_a_workspace_is_made_where_none_can_be_taken(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    ended = Ended.beside(str(root))
    assert ended is not None
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    ready = Ready(3, root_fd, None, ended)
    try:
        for before in (ready.make, lambda: None, lambda: _make_and_lose(ready, tmp_path), ready.make):
            before()
            fd = ready.take("mine")
            assert os.path.samestat(os.fstat(fd), (root / "mine").stat())
            os.close(fd)
            (root / "mine" / "left over").touch()
    finally:
        os.close(root_fd)
        for fd in ready.take_pipes():
            os.close(fd)
    ended.sweep_next(3, 4)
    assert list((tmp_path / "root.ended").iterdir()) == []


def test_pipes_are_made_ahead_and_when_none_are_there() -> None:
    ready = Ready(3, -1, (os.geteuid(), os.getegid()), None)
    ready.make()
    pipes = [*ready.take_pipes(), *ready.take_pipes()]
    assert len(set(pipes)) == 8
    for read, write in zip(pipes[::2], pipes[1::2], strict=True):
        assert os.get_blocking(write) and not os.get_blocking(read)
        os.write(write, b"x")
        assert os.read(read, 2) == b"x"
    for fd in pipes:
        assert not os.get_inheritable(fd)
        os.close(fd)


def _make_and_lose(ready: Ready, folder: Path) -> None:
    """As a launcher does that is started while its forerunner still ends."""
    ready.make()
    other = Ended.beside(str(folder / "root"))
    assert other is not None
    other.sweep_next(3, 4)


def test_only_a_slots_own_is_swept(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    ended = Ended.beside(str(tmp_path / "root"))
    assert ended is not None
    for slot in (1, 5, 12):
        os.close(ended.make_next(slot, None))
    ended.sweep_next(1, 4)
    assert [path.name.split("-")[1] for path in (tmp_path / "root.ended").iterdir()] == ["12"]
    assert not ended.clear()
    ended.close()
    assert not (tmp_path / "root.ended").exists()


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    theirs = tmp_path / "root.ended"
    theirs.mkdir(mode=0o777)
    theirs.chmod(0o777)
    assert Ended.beside(str(tmp_path / "root")) is None
    theirs.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    theirs.symlink_to(tmp_path / "elsewhere")
    assert Ended.beside(str(tmp_path / "root")) is None


def test_what_is_not_empty_is_not_put_away(tmp_path: Path) -> None:
    (tmp_path / "root" / "full" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "empty").mkdir()
    ended = Ended.beside(str(tmp_path / "root"))
    assert ended is not None
    root_fd = os.open(tmp_path / "root", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert [ended.put(root_fd, name) for name in ("full", "empty", "none")] == [False, True, False]
        assert [path.name for path in (tmp_path / "root").iterdir()] == ["full"]
        assert (ended.clear(), ended.clear()) == (True, False)
    finally:
        os.close(root_fd)
        ended.close()
    assert not (tmp_path / "root.ended").exists()
