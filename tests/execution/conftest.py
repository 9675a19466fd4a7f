"""Pools of launchers, shared and own, that must leave nothing behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from execution.harness import Bench, launcher_pids, new_root, opened, zygote_pids
from uids import first_test_uid
from wait import wait_until


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="khala-execution-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def root(open_folder: Path) -> Path:
    return new_root(open_folder)


@pytest.fixture(scope="session")
def shared_bench(open_folder: Path) -> Iterator[Bench]:
    bench = opened(new_root(open_folder))
    yield bench
    bench.pool.close()
    assert launcher_pids(bench.root) == {}
    assert zygote_pids(bench.root) == []


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    """The shared pool; after the test no workspace and no process of a task may be left."""
    yield shared_bench
    assert list(shared_bench.root.iterdir()) == []
    assert shared_bench.events.empty()
    shared_bench.seen.clear()
    launchers = launcher_pids(shared_bench.root).values()
    assert [Path(f"/proc/{pid}/task/{pid}/children").read_text() for pid in launchers] == ["", ""]


@pytest.fixture
def own_bench(root: Path) -> Iterator[Bench]:
    """A pool of the test's own, which it may damage."""
    bench = opened(root)
    yield bench
    bench.pool.close()
    wait_until(lambda: not launcher_pids(root) and not zygote_pids(root), what="no launcher is left")
    assert list(root.iterdir()) == []


@pytest.fixture(params=["vfork", "fork"])
def ahead(request: pytest.FixtureRequest, root: Path) -> Iterator[Bench]:
    """A pool of the test's own; with a user that slots share, launchers fork."""
    owner = (first_test_uid(),) * 2 if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    bench = opened(root, shared_owner=None if request.param == "vfork" else owner)
    yield bench
    bench.pool.close()
    wait_until(lambda: not launcher_pids(root) and not zygote_pids(root), what="no launcher is left")
    assert list(root.iterdir()) == []
