"""The launchers of an executor: one per slot, each running one job at a time in its own process.

`LauncherPool` may be used from any thread. A job is sent in its caller's thread; one reader thread reads
all sockets. Whoever is at work holds the lock; nothing in there waits. No process is started here but the
zygote.
"""

from __future__ import annotations

import fcntl
import os
import select
import selectors
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from khala.errors import ConfigurationError, Fault
from khala.execution.cgroup_tree import CgroupTree
from khala.execution.held_slot import key_of
from khala.execution.job import Job, LauncherEvent
from khala.execution.keeper import Keeper
from khala.execution.settings import ExecutionSettings

READY_WITHIN_S = 20.0
ROOT_FREE_WITHIN_S = 10.0


def cgroup_name(workspace_root: Path) -> str:
    """The name of a pool's control groups: the same in its next life, and no other pool's."""
    return f"khala-{zlib.crc32(str(workspace_root.absolute()).encode()):08x}"


class LauncherPool:
    """Runs jobs in slots numbered 0 … `settings.slots` - 1.

    The listener is called with one event at a time: PhaseStarted, OutputSpooled now and then, and exactly
    one JobEnded for each job, or JobReturned for one that was given ahead; in the reader thread, and in the
    caller's for a job that ends before it is sent. It must return quickly and must not raise; it may call
    `run` and `abort`.
    `kept_fds` are locks that shall hold until the last process of the pool is gone, after a kill too.
    """

    def __init__(
        self,
        settings: ExecutionSettings,
        listener: Callable[[LauncherEvent], None],
        *,
        kept_fds: Sequence[int] = (),
    ) -> None:
        self._settings = settings
        self._kept_fds = tuple(kept_fds)
        self._cgroups: CgroupTree | None = None
        self._listener = listener
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._ready = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._root_fd = -1
        self._wake_fd = -1
        self._keeper: Keeper | None = None

    def start(self) -> None:
        """Start the zygote and the launchers; return when every slot takes jobs.

        Workspaces that a killed executor left under the root are removed. Call it before this process
        makes threads or channels. ConfigurationError if another executor uses the workspace root, or
        it cannot be used; Fault if no launcher comes up.
        """
        try:
            self._root_fd = self._lock_root()
            self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._selector.register(self._wake_fd, selectors.EVENT_READ, self._take_wake)
            self._cgroups = self._make_cgroups()
            kept = (self._root_fd, *self._kept_fds)
            keeper = Keeper(self._settings, self._selector, kept, self._cgroups, self._listener)
            self._keeper = keeper
            keeper.start()
        except BaseException:
            self.close()
            raise
        self._thread = threading.Thread(target=self._serve, args=(keeper,), name="launcher-pool")
        self._thread.start()
        if not self._ready.wait(READY_WITHIN_S):
            self.close()
            raise Fault(f"no launchers after {READY_WITHIN_S} s; the executor's log says why")

    def has_room(self) -> bool:
        """Is more than the free-space reserve left where the workspaces lie? Without it no job starts."""
        disk = os.statvfs(self._settings.workspace_root)
        return disk.f_bavail * disk.f_frsize >= self._settings.reserve_bytes

    def run(self, slot: int, job: Job, *, ahead: bool = False) -> None:
        """Run `job` in an idle slot, or `ahead` when all have ended that the slot has. Fault if the slot has
        one otherwise, or the pool is closed."""
        with self._lock:
            keeper = self._open_keeper(slot)
            first = keeper.first_job(slot)
            if first is not None and not ahead:
                raise Fault(f"slot {slot} is busy with {first.task_id}, cannot take {job.task_id}")
            keeper.run(slot, job)

    def abort(
        self, slot: int, job: tuple[str, int] | None = None, *, kill_grace_s: float | None = None
    ) -> None:
        """End a job of the slot's, given as task and attempt, or the one that runs: SIGTERM to all its
        processes, and SIGKILL after `kill_grace_s` seconds (None: as set). It ends as cancelled, unless it
        ended first, or comes back. That the slot does not have it is no error."""
        grace_s = self._settings.kill_grace_s if kill_grace_s is None else kill_grace_s
        with self._lock:
            keeper = self._open_keeper(slot)
            first = keeper.first_job(slot)
            key = key_of(first) if job is None and first is not None else job
            if key is not None:
                keeper.abort(slot, key, grace_s)

    def renew(self, deadline_s: float) -> None:
        """Jobs of tasks that are to stop with this executor (P11) run until `deadline_s` (CLOCK_BOOTTIME)
        and no longer, whatever becomes of this process. Without a call they have no deadline."""
        with self._lock:
            if not self._closing and self._thread is not None and self._keeper is not None:
                self._keeper.renew(deadline_s)

    def close(self) -> None:
        """End running jobs, without an event for them, and all processes; return when they are gone.

        May be called again; not from the listener.
        """
        with self._lock:
            self._closing = True
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None
        if self._cgroups is not None:
            self._cgroups.remove()
            self._cgroups = None
        self._selector.close()
        with self._lock:
            for fd in (self._wake_fd, self._root_fd):
                if fd >= 0:
                    os.close(fd)
            self._wake_fd = self._root_fd = -1

    def _make_cgroups(self) -> CgroupTree | None:
        """Control groups of this pool's own, named by the root that it holds; those of an earlier life
        are swept first."""
        if not self._settings.cgroups:
            return None
        tree = CgroupTree.here(cgroup_name(self._settings.workspace_root))
        try:
            tree.make_slots(self._settings.slots, self._settings.memory_bytes)
        except OSError as error:
            tree.remove()
            raise Fault(f"control groups cannot be made: {error}") from error
        return tree

    def _lock_root(self) -> int:
        """Hold the root for this pool. The zygote and its launchers hold it with us, so that a new
        executor waits until the last process of a killed one is gone."""
        root = self._settings.workspace_root
        try:
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigurationError(
                f"workspace root {root}: {error.strerror}; make it, or choose another with --workspace-root"
            ) from error
        deadline_s = time.monotonic() + ROOT_FREE_WITHIN_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline_s:
                    time.sleep(0.02)
                    continue
                os.close(fd)
                raise ConfigurationError(
                    f"workspace root {root} is in use by another executor; give each its own --workspace-root"
                ) from None
            return fd

    def _open_keeper(self, slot: int) -> Keeper:
        """For use with the lock held."""
        running = self._thread is not None and self._thread.is_alive()
        if self._closing or not running or self._keeper is None:
            raise Fault("the launcher pool is not running")
        if not 0 <= slot < self._settings.slots:
            raise Fault(f"there is no slot {slot}; there are {self._settings.slots}")
        return self._keeper

    def _take_wake(self) -> None:
        os.eventfd_read(self._wake_fd)

    def _serve(self, keeper: Keeper) -> None:
        while True:
            with self._lock:
                if self._closing:
                    return
                keeper.tend()
                if keeper.ready:
                    self._ready.set()
                pause_s, rest_s = keeper.pause_s(), keeper.rest_s()
            if rest_s:
                # Each end that is heard by itself would cost as much as several together.
                select.select([self._wake_fd], [], [], rest_s)
            for key, _ in self._selector.select(pause_s):
                with self._lock:
                    key.data()
