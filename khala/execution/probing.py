"""Which isolation levels hold on this host, found out by using each layer for real.

Small tasks go through launchers of the very kind that tasks will get, each asserting one layer from
inside or provoking what the layer must hold. Takes about half a second; starts and ends processes;
call it before the executor has threads.
"""

from __future__ import annotations

import os
import queue
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from khala.core.task import Command, ExitReason, Isolation, Limits, Outcome, TaskSpec
from khala.errors import ConfigurationError, Fault
from khala.execution.cgroup_tree import CgroupTree
from khala.execution.job import Job, JobEnded, LauncherEvent
from khala.execution.pool import LauncherPool
from khala.execution.settings import ExecutionSettings, prepare_workspace_root
from khala.execution.uid_range import claim_uid_range, first_uid

WITHIN_S = 10.0
WALL = Limits(wall_time_s=5.0)
MEMORY = Limits(wall_time_s=5.0, memory_bytes=16 * 1024 * 1024, processes=32)
PROCESSES = Limits(wall_time_s=5.0, processes=4)
DISK = Limits(wall_time_s=5.0, disk_bytes=1024 * 1024)
USER = """[ $(id -u) = {uid} ] && grep -q 'CapEff:.0*$' /proc/self/status \\
&& grep -q 'NoNewPrivs:.1' /proc/self/status"""
HOG = "x=$(head -c 60000000 /dev/zero | tr '\\0' x); echo ${#x}"
# Not a shell's fork where there is perl: bash tries again for seconds.
FORKS = """if command -v perl > /dev/null
then exec perl -e 'for (1 .. 8) { $p = fork; exit 7 if !defined $p; if (!$p) { sleep 2; exit } }'
else for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait; exit 1
fi"""
NO_GROUPS = "not tried: strict needs control groups with pids and memory (L2)"
FILL = "head -c 3000000 /dev/zero > full"
BOX = """
[ "$(id -u)" = {uid} ] || { echo "wrong user"; exit 1; }
[ "$(hostname)" = khala ] || { echo "host's name"; exit 1; }
for dir in / /usr /etc; do touch $dir/probe 2> /dev/null && { echo "$dir is writable"; exit 1; }; done
[ -e {secret} ] && { echo "the host's /tmp is seen"; exit 1; }
touch /tmp/mine "$HOME/mine" || { echo "no room of its own"; exit 1; }
[ "$(ls -d /proc/[0-9]* | wc -l)" -lt 8 ] || { echo "the host's processes are seen"; exit 1; }
(exec 3<> /dev/tcp/127.0.0.1/{port}) 2> /dev/null && { echo "the network is reached"; exit 1; }
exit 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIsolation:
    """What holds. `layers` maps each layer to "ok…", or to what is missing and the way to get it."""

    levels: tuple[Isolation, ...]
    layers: Mapping[str, str]
    cgroups: bool
    bwrap: str

    def apply(self, settings: ExecutionSettings) -> ExecutionSettings:
        """`settings` for launchers that use what holds, and nothing else."""
        return replace(settings, levels=self.levels, cgroups=self.cgroups, bwrap=self.bwrap)


@dataclass(slots=True)
class _Findings:
    layers: dict[str, str] = field(default_factory=dict)

    def note(self, layer: str, missing: str, ok: str = "ok") -> bool:
        """Write down `missing`, or that nothing is."""
        self.layers[layer] = missing or ok
        return not missing


def probe_isolation(settings: ExecutionSettings) -> HostIsolation:
    """Try every layer as the slot's user of `settings`. Its workspace root is not used, but the folder
    that it is in; Fault or ConfigurationError if not even a plain task runs."""
    findings = _Findings()
    bwrap = shutil.which("bwrap") or ""
    with _pool(settings, cgroups=False) as plain:
        ended = plain.run(Isolation.NONE, "exit 3")
        if ended.exit_reason is not ExitReason.EXITED or "code 3" not in ended.reason:
            raise Fault(f"a plain task does not run here: {ended.reason}")
        findings.note("L0 launcher", "")
        own_user = findings.note("L1 user", _probe_user(plain, settings))
    cgroups, version = _cgroups_can_be_made(settings)
    findings.note("cgroups", "" if cgroups else version, version)
    with _pool(settings, cgroups=cgroups, bwrap=bwrap) as full:
        missing = "" if cgroups else version
        pids = findings.note("L2 cgroup pids", missing or _probe_processes(full))
        memory = findings.note("L2 cgroup memory", missing or _probe_memory(full))
        box = findings.note("L3 box", _probe_box(full, settings, bwrap) if pids and memory else NO_GROUPS)
        findings.note("L5 disk", _probe_disk(full))
    levels = [Isolation.NONE, Isolation.BASIC]
    if own_user and pids and memory and box:
        levels.append(Isolation.STRICT)
    # A group that holds only a part is used for that part; enforced[] tells it.
    return HostIsolation(
        levels=tuple(levels), layers=findings.layers, cgroups=pids, bwrap=bwrap if box else ""
    )


class _Prober:
    """Runs one task after the other in the only slot of a pool."""

    def __init__(self, pool: LauncherPool, events: queue.Queue[LauncherEvent]) -> None:
        self._pool = pool
        self._events = events
        self._numbers = count(1)

    def run(self, level: Isolation, script: str, limits: Limits = WALL) -> Outcome:
        command = Command(shell=script, limits=limits)
        job = Job(
            task_id=f"{next(self._numbers):024x}", attempt=1, spec=TaskSpec(execute=command, isolation=level)
        )
        self._pool.run(0, job)
        try:
            while not isinstance(event := self._events.get(timeout=WITHIN_S), JobEnded):
                continue
        except queue.Empty:
            raise Fault(f"a probing task did not end within {WITHIN_S:g} s") from None
        return event.outcome


@contextmanager
def _pool(settings: ExecutionSettings, *, cgroups: bool, bwrap: str = "") -> Iterator[_Prober]:
    """A pool of one slot in a folder of its own beside the workspace root."""
    events: queue.Queue[LauncherEvent] = queue.Queue()
    beside = settings.workspace_root.absolute().parent
    with tempfile.TemporaryDirectory(prefix=".khala-probe-", dir=beside) as folder:
        root = Path(folder)
        prepare_workspace_root(root, settings.slot_uid(0))
        probing = replace(
            settings, slots=1, workspace_root=root, levels=tuple(Isolation), cgroups=cgroups, bwrap=bwrap,
            reserve_bytes=0,
        )  # fmt: skip
        pool = LauncherPool(probing, events.put)
        pool.start()
        try:
            yield _Prober(pool, events)
        finally:
            pool.close()


def _cgroups_can_be_made(settings: ExecutionSettings) -> tuple[bool, str]:
    """Whether, and their version or why not."""
    try:
        tree = CgroupTree.here(f"khala-probe-{os.getpid()}")
    except Fault as why:
        return False, str(why)
    tree.remove()
    return True, f"ok: v{tree.version}, {' '.join(sorted(tree.controllers))}"


def _probe_user(pool: _Prober, settings: ExecutionSettings) -> str:
    uid = settings.slot_uid(0)
    if uid is None:
        return "the executor is not root: tasks run as its own user; run it as root for users of their own"
    if settings.shared_owner is not None:
        return "all slots share one user, so tasks can reach each other; leave out --main-task-user-group"
    outcome = pool.run(Isolation.BASIC, USER.format(uid=uid))
    return "" if outcome.succeeded else f"a task keeps privileges: {outcome.reason}"


def _probe_processes(pool: _Prober) -> str:
    outcome = pool.run(Isolation.BASIC, FORKS, PROCESSES)
    held = outcome.exit_reason is ExitReason.PROCESS_LIMIT
    return "" if held else f"the process limit did not hold: {outcome.exit_reason.value} {outcome.reason}"


def _probe_memory(pool: _Prober) -> str:
    outcome = pool.run(Isolation.BASIC, HOG, MEMORY)
    held = outcome.exit_reason is ExitReason.MEMORY_LIMIT
    return "" if held else f"the memory limit did not hold: {outcome.exit_reason.value} {outcome.reason}"


def _probe_disk(pool: _Prober) -> str:
    outcome = pool.run(Isolation.BASIC, FILL, DISK)
    held = outcome.exit_reason is ExitReason.DISK_LIMIT
    return "" if held else f"the disk limit did not hold: {outcome.exit_reason.value} {outcome.reason}"


def _probe_box(pool: _Prober, settings: ExecutionSettings, bwrap: str) -> str:
    if not bwrap:
        return "bwrap is not installed: apt-get install bubblewrap"
    if settings.slot_uid(0) is None or settings.shared_owner is not None:
        return "needs a user per slot (L1)"
    with tempfile.NamedTemporaryFile(prefix="khala-probe-") as secret, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        script = BOX
        for key, value in (
            ("{uid}", settings.slot_uid(0)), ("{secret}", secret.name), ("{port}", listener.getsockname()[1])
        ):  # fmt: skip
            script = script.replace(key, str(value))
        outcome = pool.run(Isolation.STRICT, script)
    if outcome.succeeded:
        return ""
    said = ""
    if outcome.result is not None and outcome.result.execute is not None:
        said = outcome.result.execute.stdout.head.decode(errors="replace").strip()
    return f"bwrap {bwrap} does not hold: {said or outcome.reason}"


def probe_here() -> HostIsolation:
    """Probe as an executor of this user would, in a temporary folder. For `khala doctor`."""
    claimed = claim_uid_range() if os.geteuid() == 0 else None
    try:
        with tempfile.TemporaryDirectory(prefix="khala-doctor-", dir="/var/tmp") as folder:
            Path(folder).chmod(0o711)
            root = Path(folder) / "root"
            uid_base = first_uid() if claimed is None else claimed.base
            return probe_isolation(ExecutionSettings(slots=1, workspace_root=root, uid_base=uid_base))
    except OSError as error:
        raise ConfigurationError(f"/var/tmp cannot be used: {error.strerror}") from error
    finally:
        if claimed is not None:
            claimed.release()
