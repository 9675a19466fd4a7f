"""Both drivers of control groups: version 1 on this host, version 2 on what the host has of it and,
for the files that need controllers, over a plain directory tree."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from wait import wait_until

from khala.errors import Fault
from khala.execution.cgroup_hosts import Places, find_places
from khala.execution.cgroup_tree import CgroupTree
from khala.execution.launching.cgroup import TaskGroup
from khala.execution.launching.cgroup_v1 import GroupV1
from khala.execution.launching.cgroup_v2 import GroupV2

UNIFIED = Path("/sys/fs/cgroup/unified")
NAME = f"khala-test-{os.getpid()}"
FORKER = "import os, signal\nfor _ in range(20):\n    os.fork() or signal.pause()\nsignal.pause()"


def enter(group: TaskGroup) -> None:
    for fd in group.entrances:
        os.pwrite(fd, b"0", 0)


def started(group: TaskGroup, script: str = "sleep 600") -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/bash", "-c", script], preexec_fn=lambda: enter(group))  # noqa: PLW1509


def driver(tree: CgroupTree) -> TaskGroup:
    asked = tree.request(0)
    if asked["version"] == 1:
        return GroupV1(asked["folders"])
    return GroupV2(asked["folders"][""], frozenset(asked["controllers"]))


def unified() -> CgroupTree:
    """Version 2 as far as this host has it."""
    if not (UNIFIED / "cgroup.procs").exists():
        return CgroupTree.here(NAME)
    return CgroupTree.made(Places(version=2, parents={"": (UNIFIED,)}), NAME)


@pytest.fixture(params=[CgroupTree.here, unified], ids=["this host's", "version 2"])
def tree(request: pytest.FixtureRequest) -> Iterator[CgroupTree]:
    try:
        tree = request.param(*([NAME] if request.param is not unified else []))
    except (Fault, OSError) as why:
        pytest.skip(f"no control groups can be made here: {why}")
    tree.make_slots(1, 0)
    yield tree
    tree.remove()
    # Others' groups come and go meanwhile, for which os.walk does not stop.
    assert NAME not in {Path(folder).name for folder, _, _ in os.walk("/sys/fs/cgroup")}


def test_a_whole_family_is_killed(tree: CgroupTree) -> None:
    group = driver(tree)
    group.open(memory_bytes=0, processes=40)
    process = started(group, "for i in 1 2 3; do (setsid sleep 600 &) ; done; wait; sleep 600")
    wait_until(lambda: len(group.pids()) >= 4, what="all are up")
    group.kill()
    assert process.wait(60) == -signal.SIGKILL
    wait_until(lambda: not group.pids(), what="none is left")
    group.close()


def test_a_leftover_group_is_cleared(tree: CgroupTree) -> None:
    group = driver(tree)
    group.open(memory_bytes=0, processes=0)
    process = started(group)
    wait_until(group.pids, what="it is up")
    again = driver(tree)
    again.open(memory_bytes=0, processes=0)
    assert process.wait(60) == -signal.SIGKILL
    assert again.pids() == []
    again.close()


def test_a_group_is_made_ahead(tree: CgroupTree) -> None:
    group, other = driver(tree), driver(tree)
    group.prepare()
    group.open(memory_bytes=0, processes=0)
    process = started(group)
    wait_until(group.pids, what="it is up")
    other.prepare()
    assert process.poll() is None, "a launcher that is being replaced does no harm"
    group.kill()
    process.wait(60)
    wait_until(lambda: not group.pids(), what="none is left")
    group.close()
    group.prepare()
    assert (group.pids(), group.use().processes) == ([], 0)


def test_a_peak_is_its_own_phases(tree: CgroupTree) -> None:
    """Also where the group served before: for one process, or in a box of three."""
    group = driver(tree)
    peaks = []
    for more, least in ((0, 1), (2, 3), (2, 3), (0, 1), (0, 1), (3, 3), (2, 3)):
        group.prepare()
        group.open(memory_bytes=0, processes=0, least_processes=least)
        assert started(group, "sleep 0.2 & " * more + "wait").wait(60) == 0
        wait_until(lambda: not group.pids(), what="none is left")
        peaks.append(group.use().processes)
        group.close()
    group.clear()
    assert peaks == ([1, 3, 3, 1, 1, 4, 3] if group.enforces else [0] * 7)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_tree_of_an_earlier_life_is_swept(tree: CgroupTree, frozen: bool) -> None:
    """Also where its launcher was killed while it ended a task."""
    group = driver(tree)
    group.open(memory_bytes=0, processes=0)
    process = started(group)
    wait_until(group.pids, what="it is up")
    if frozen and "freezer" in tree.controllers:
        freezer = Path(tree.request(0)["folders"]["freezer"]) / "freezer.state"
        freezer.write_text("FROZEN")
        wait_until(lambda: freezer.read_text() == "FROZEN\n", what="it stands still")
    tree.remove()
    assert process.wait(60) == -signal.SIGKILL
    tree.remove()


def test_limits_peaks_and_events(tree: CgroupTree) -> None:
    group = driver(tree)
    if not group.enforces:  # an empty version 2 tree: it kills, promises nothing and counts nothing
        group.open(memory_bytes=32 << 20, processes=5)
        assert (group.use().processes, group.use().processes_refused) == (0, 0)
        group.clear()
        return
    group.open(memory_bytes=32 << 20, processes=5)
    refused = started(group, "exec perl -e 'for (1 .. 9) { defined fork or exit 7 } sleep 1'")
    assert refused.wait(60) == 7
    assert group.use().processes == 5
    assert group.use().processes_refused >= 1
    group.clear()
    group.open(memory_bytes=32 << 20, processes=5)
    assert group.use().processes == 0, "a fresh group counts anew"
    hog = started(group, "x=$(head -c 90000000 /dev/zero | tr '\\0' x)")
    hog.wait(60)
    use = group.use()
    assert use.memory_kills >= 1
    assert 30 << 20 < use.memory_bytes <= 32 << 20
    assert group.cpu_s() > 0
    group.clear()


def test_files_of_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which value goes into which file, over a directory that is no cgroup."""
    folder = tmp_path / "phase"
    real_mkdir = os.mkdir

    def made(path: str) -> None:
        real_mkdir(path)
        for name in (
            "pids.max",
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "cgroup.kill",
            "cgroup.procs",
        ):
            (folder / name).touch()

    monkeypatch.setattr("khala.execution.launching.cgroup_v2.os.mkdir", made)
    group = GroupV2(str(tmp_path), frozenset({"pids", "memory", "cpu"}))
    group.open(memory_bytes=1000, processes=7)
    enter(group)
    group.kill()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "pids.max": "7", "memory.max": "1000", "memory.swap.max": "0", "memory.oom.group": "1",
        "cgroup.kill": "1", "cgroup.procs": "0",
    }  # fmt: skip
    (folder / "memory.peak").write_text("900\n")
    (folder / "pids.peak").write_text("6\n")
    (folder / "memory.events").write_text("low 0\nmax 4\noom 1\noom_kill 1\noom_group_kill 1\n")
    (folder / "pids.events").write_text("max 3\n")
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    use = group.use()
    assert (use.memory_bytes, use.processes, use.memory_kills, use.processes_refused) == (900, 6, 1, 3)
    assert group.cpu_s() == 2.5


V1 = """30 29 0:25 / {0}/pids rw - cgroup cgroup rw,pids
31 29 0:26 / {0}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 29 0:27 /box {0}/memory rw - cgroup cgroup rw,memory
"""


def test_places_of_version_1(tmp_path: Path) -> None:
    for inside in ("pids/own", "cpu,cpuacct", "memory/deep"):
        (tmp_path / inside).mkdir(parents=True)
    own = "3:pids:/own\n2:cpu,cpuacct:/elsewhere\n1:memory:/box/deep\n0::/\n"
    places = find_places(V1.format(tmp_path), own, root=True)
    assert places is not None
    assert places.version == 1
    first = {name: parents[0] for name, parents in places.parents.items()}
    assert first == {
        "pids": tmp_path / "pids/own", "cpu": tmp_path / "cpu,cpuacct", "cpuacct": tmp_path / "cpu,cpuacct",
        "memory": tmp_path / "memory/deep",
    }  # fmt: skip


@pytest.mark.parametrize(("root", "is_true_root", "first"), [
    (True, True, ""), (True, False, "unit"), (False, True, "unit"),
])  # fmt: skip
def test_places_of_version_2(tmp_path: Path, root: bool, is_true_root: bool, first: str) -> None:
    (tmp_path / "unit" / "khala-main").mkdir(parents=True)
    if not is_true_root:
        (tmp_path / "cgroup.type").touch()
    mounts = f"30 29 0:25 / {tmp_path} rw - cgroup2 cgroup2 rw,nsdelegate\n"
    places = find_places(mounts, "0::/unit/khala-main\n", root=root)
    assert places is not None
    assert (places.version, places.parents[""][0]) == (2, tmp_path / first)


def test_no_control_groups() -> None:
    assert find_places("30 29 0:25 / /proc rw - proc proc rw\n", "", root=True) is None
