"""One executor's launchers with every layer that holds here, and a look at what attacks leave behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from execution.harness import Bench, launcher_pids, new_root, opened, settings_for, zygote_pids
from groups import groups_of, used_groups
from idle import is_idle
from uids import first_test_uid
from wait import wait_until

from khala.core.task import Isolation
from khala.execution.probing import HostIsolation, probe_isolation

TYPICALLY_WITHIN_S = 2.0
AT_MOST_S = 30.0
"""Where the machine itself stands still, two seconds say nothing of Khala."""
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


def leftovers(bench: Bench, launchers: Iterable[int], uid_base: int) -> dict[str, object]:
    """All that an attempt might leave: empty values are what a test wants."""
    uids = {uid_base, uid_base + 1} if os.geteuid() == 0 else set()
    status = [path / "status" for path in Path("/proc").iterdir() if path.name.isdigit()]
    found: dict[str, object] = {
        "workspaces": [path.name for path in bench.root.iterdir()],
        "mounts": [line for line in _mounts_seen_by(launchers) if str(bench.root) in line.split()[1]],
        "groups": [str(path) for path in used_groups(bench.root)],
        "files": [str(path) for folder in SHARED for path in folder.iterdir() if _owner(path) in uids],
        "children": [_children(pid) for pid in launchers if _children(pid)],
    }
    if uids:
        found["processes"] = [str(path) for path in status if _uid(path) in uids]
    return found


def descriptors(launchers: Iterable[int]) -> dict[int, Counter[str]]:
    """What each launcher holds open, by kind: names without their numbers."""
    return {
        pid: Counter(
            re.sub(r"\d+|(?<=-)[0-9a-f]{24}", "N", str(fd.readlink()))
            for fd in Path(f"/proc/{pid}/fd").iterdir()
        )
        for pid in launchers
    }


def _owner(path: Path) -> int | None:
    """Whose it is; None if it is gone meanwhile, as another program's file may be."""
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return None


def _mounts_seen_by(launchers: Iterable[int]) -> list[str]:
    return [line for pid in launchers for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def _uid(status: Path) -> int | None:
    try:
        return int(
            next(line for line in status.read_text().splitlines() if line.startswith("Uid:")).split()[1]
        )
    except (OSError, StopIteration):
        return None


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="khala-abuse-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def uid_base() -> int:
    """uids that no other executor and no other test run on this host uses meanwhile."""
    return first_test_uid()


@pytest.fixture(scope="session")
def host(open_folder: Path, uid_base: int) -> HostIsolation:
    """What holds here, probed."""
    return probe_isolation(settings_for(open_folder / "probe", uid_base=uid_base))


class Typical:
    """How long something took, again and again: typically it must be quick, and it is never slow."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.took_s: list[float] = []

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Time the block, once."""
        began = time.monotonic()
        yield
        self.took_s.append(time.monotonic() - began)
        assert self.took_s[-1] < AT_MOST_S, self.what

    def check(self) -> None:
        """The promise of two seconds, by the median of all."""
        assert not self.took_s or statistics.median(self.took_s) < TYPICALLY_WITHIN_S, self.what


@pytest.fixture(scope="session")
def reuse() -> Iterator[Typical]:
    """From the end of an attack to the end of another task in its slot."""
    reuse = Typical("a slot is reusable within two seconds")
    yield reuse
    reuse.check()


@pytest.fixture(scope="session")
def ending() -> Iterator[Typical]:
    """From a cancel to the outcome."""
    ending = Typical("a cancel ends the whole tree within two seconds")
    yield ending
    ending.check()


@pytest.fixture(scope="session")
def shared_bench(open_folder: Path, host: HostIsolation, uid_base: int) -> Iterator[Bench]:
    spool_root = open_folder / "spool"
    spool_root.mkdir(mode=0o700)
    holding = {"levels": host.levels, "cgroups": host.cgroups, "bwrap": host.bwrap, "uid_base": uid_base}
    bench = opened(new_root(open_folder), **holding, spool_root=spool_root, kept_files_bytes=4 << 20)
    yield bench
    bench.pool.close()
    wait_until(lambda: not launcher_pids(bench.root) and not zygote_pids(bench.root), what="no launcher left")
    assert not groups_of(bench.root)


@pytest.fixture
def bench(shared_bench: Bench, uid_base: int, reuse: Typical) -> Iterator[Bench]:
    """After each attack the slot runs a task again, and nothing is left."""
    shared_bench.shell("true")
    pids = launcher_pids(shared_bench.root)
    wait_until(lambda: all(map(is_idle, pids.values())), what="both slots idle")
    held = descriptors(pids.values())
    yield shared_bench
    for slot in (0, 1):
        # Only a test that failed has left anything to abort; the next one shall not fail for it.
        shared_bench.pool.abort(slot, kill_grace_s=0)
    with reuse.timed():
        assert shared_bench.shell("echo again").stdout.head == b"again\n"
    assert launcher_pids(shared_bench.root) == pids, "no attack ended a launcher"
    left = leftovers(shared_bench, pids.values(), uid_base)
    assert not {what: found for what, found in left.items() if found}

    def holds_no_more() -> bool:
        more = {pid: now - held[pid] for pid, now in descriptors(pids.values()).items()}
        assert not any(more.values()), more
        return True

    wait_until(holds_no_more, what="no more descriptors than before")
    assert shared_bench.events.empty()
    shared_bench.seen.clear()
    shared_bench.ended.clear()


@pytest.fixture(params=list(Isolation))
def level(request: pytest.FixtureRequest, host: HostIsolation) -> Isolation:
    """Each level; one that does not hold here is skipped with the reason, and so is told."""
    wanted: Isolation = request.param
    if wanted not in host.levels:
        lacking = {layer: text for layer, text in host.layers.items() if not text.startswith("ok")}
        pytest.skip(f"{wanted.value} does not hold here: {lacking}")
    return wanted


@pytest.fixture(params=["compile", "execute"])
def phase(request: pytest.FixtureRequest) -> str:
    """Both phases: a compiler is untrusted too."""
    return str(request.param)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives slots users of their own")
