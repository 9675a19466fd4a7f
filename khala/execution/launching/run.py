"""Running one child process of an attempt to its end, and ending all that it leaves behind.

The launcher's only thread. The child is untrusted: all that is taken from it is bytes and a wait
status. Its output is always read, so that it never blocks, and kept within bounds.
"""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable

from .begun import Running
from .capture import Capture
from .children import Reaper, now_s
from .guard import Guard
from .program import Stdio
from .slot import Slot
from .spool import Spool
from .tree import descendants, end_all, signal_family
from .vforking import MOST_TAKEN_BYTES, Vfork, Waited

READ_BYTES = 1 << 16
DRAIN_READS = 64
KILL_WITHIN_S = 0.8
BOX_ENDS_WITHIN_S = 0.05
LONGEST_POLL_S = 3600.0
MOMENT_S = 0.1
GIVES_BACK_AFTER_S = 0.02


class Run:
    """One child with its process tree, from its start until nothing of it is left.

    `ended_by` is "" (it ended by itself), "cancelled", "cut_off" (the executor did not renew it), or what
    a limit is called; `left` lists pids
    that even SIGKILL did not end in time. Times are seconds; `started_at` is Unix time. `boxed` says
    that the child is bwrap and the command is below it. `spool` gets the whole output.
    """

    def __init__(
        self,
        slot: Slot,
        task_id: str,
        attempt: int,
        guard: Guard,
        *,
        boxed: bool = False,
        spool: Spool | None = None,
    ) -> None:
        self._slot = slot
        self._attempt = (task_id, attempt)
        self._guard = guard
        self._boxed = boxed
        self._streams: dict[int, Capture] = {}
        self._open_streams: dict[int, Capture] = {}
        self._started_s = 0.0
        self._kill_at_s: float | None = None
        self._pid = 0
        self._reaper = Reaper(0)
        self._spool = spool
        spools = {} if spool is None else spool.streams
        self.stdout = Capture(slot.head_bytes, slot.tail_bytes, spools.get("stdout"))
        self.stderr = Capture(slot.head_bytes, slot.tail_bytes, spools.get("stderr"))
        self.started_at = 0.0
        self.wall_time_s = 0.0
        self.ended_by = ""
        self.left: list[int] = []

    @property
    def output_bytes(self) -> int:
        """What has been read of both streams together."""
        return self.stdout.size + self.stderr.size

    @property
    def use(self) -> Reaper:
        """The wait status of the child, and the CPU time and memory of its tree."""
        return self._reaper

    def start(self, start_child: Callable[[Stdio], int], *, stdin_fd: int) -> None:
        """Start the child by `start_child`, which returns its pid."""
        pipes = self._slot.ready.take_pipes()
        self._note_start(time.time(), now_s())
        try:
            self._guard.open()
            self._pid = start_child(Stdio(stdin_fd, pipes.out_write, pipes.err_write))
        except OSError:
            for fd in pipes:
                os.close(fd)
            self._guard.close(gone=True)
            raise
        os.close(pipes.out_write)
        os.close(pipes.err_write)
        self._watch_over(Reaper(self._pid), (pipes.out_read, pipes.err_read))

    def adopt(self, running: Running) -> None:
        """Go on with a child that was started elsewhere, as if `start` had been called."""
        self._note_start(running.started_at, running.started_s)
        self._pid = running.use.main_pid
        self._guard.open()
        self._watch_over(running.use, running.reads)
        for (fd, capture), data, at_end in zip(
            self._streams.items(), running.gave, running.at_end, strict=True
        ):
            if data:
                capture.feed(data)
            if at_end:
                del self._open_streams[fd]

    def _note_start(self, started_at: float, started_s: float) -> None:
        self.started_at, self._started_s = started_at, started_s
        if self._guard.limits.wall_time_s > 0:
            self._kill_at_s = started_s + self._guard.limits.wall_time_s

    def _watch_over(self, reaper: Reaper, reads: tuple[int, int]) -> None:
        self._reaper = reaper
        self._guard.start(reaper, self._started_s)
        self._streams = dict(zip(reads, (self.stdout, self.stderr), strict=True))
        self._open_streams = dict(self._streams)

    def finish(self) -> None:
        """Wait for the end, the limit or an abort; end the whole tree; take what is in the pipes.

        ExecutorGone when the executor is; the tree is ended then as well.
        """
        try:
            self._watch_child()
        finally:
            group = self._guard.group
            if self._boxed and self._reaper.main_status is not None:
                self._let_box_end()
            self.left = end_all(self._reaper.reap, self._slot.watch, within_s=KILL_WITHIN_S, group=group)
            if not self.wall_time_s:
                self.wall_time_s = now_s() - self._started_s
            for fd, capture in self._open_streams.items():
                _drain(fd, capture)
            for fd, capture in self._streams.items():
                os.close(fd)
                capture.close()
            self._guard.close(gone=not self.left)

    def _let_box_end(self) -> None:
        """bwrap has ended, and the kernel ends all that was in its process namespace: cheaper than a kill."""
        until_s = now_s() + BOX_ENDS_WITHIN_S
        while self._reaper.reap() and (left_s := until_s - now_s()) > 0:
            self._slot.watch.wait(left_s)

    def _watch_child(self) -> None:
        self._heed_executor()
        if self._slot.vfork is not None:
            self._watch_a_moment(self._slot.vfork)
        if self._reaper.main_status is None:
            self._watch_on()
        self.wall_time_s = now_s() - self._started_s

    def _watch_a_moment(self, vfork: Vfork) -> None:
        """A child that ends soon, having written little, costs one call, and one more for each word of the
        executor meanwhile. Everything else is left to `_watch_on`."""
        control = self._slot.control
        while self._reaper.main_status is None and not self.ended_by:
            until_s = min(self._due_s() or math.inf, self._started_s + MOMENT_S)
            self._see_through(vfork, Waited(self._slot.watch.fileno(), control.fileno(), until_s))
            if self._reaper.main_status is not None or not control.receive():
                return
            self._heed_executor()

    def _see_through(self, vfork: Vfork, waited: Waited) -> None:
        limit_bytes = self._guard.limits.output_bytes
        most_bytes = max(0, limit_bytes - self.output_bytes) if limit_bytes else MOST_TAKEN_BYTES
        streams = [fd if fd in self._open_streams else -1 for fd in self._streams]
        seen = vfork.watch(self._reaper, streams, waited, most_bytes=most_bytes)
        for (fd, capture), (data, is_all) in zip(self._streams.items(), seen, strict=True):
            if data:
                capture.feed(data)
            if is_all:
                self._open_streams.pop(fd, None)

    def _watch_on(self) -> None:
        watch, control = self._slot.watch.fileno(), self._slot.control.fileno()
        poll = select.poll()
        for fd in (*self._open_streams, watch, control):
            poll.register(fd, select.POLLIN)
        while self._reaper.main_status is None and not self._is_over_limit():
            if self._spool is not None:
                self._spool.tend()
            self._slot.control.send_due()
            if now_s() >= self._started_s + GIVES_BACK_AFTER_S:
                self._slot.control.give_back()
            for fd, _ in poll.poll(self._pause_ms()):
                if fd == watch:
                    self._slot.watch.clear()
                    self._reaper.reap()
                elif fd == control:
                    self._slot.control.receive()
                    self._heed_executor()
                elif not _pump(fd, self._open_streams[fd]):
                    poll.unregister(fd)
                    del self._open_streams[fd]

    def _is_over_limit(self) -> bool:
        """Is it time to kill? Sets `ended_by` unless it has been aborted before."""
        now, limits = now_s(), self._guard.limits
        deadline_s = self._slot.control.deadline_s
        if deadline_s is not None and now >= deadline_s:
            self._end_softly("cut_off", self._slot.kill_grace_s)
        if self._kill_at_s is not None and now >= self._kill_at_s:
            self.ended_by = self.ended_by or "wall_time_limit"
            return True
        exceeded = ""
        if limits.output_bytes and self.output_bytes > limits.output_bytes:
            exceeded = "output_limit"
        elif (look_at_s := self._guard.next_look_s) is not None and now >= look_at_s:
            exceeded = self._guard.look()
        self.ended_by = self.ended_by or exceeded
        return bool(exceeded)

    def _pause_ms(self) -> float | None:
        """How long poll may sleep."""
        due_s = self._due_s()
        return None if due_s is None else min(max(0.0, due_s - now_s()), LONGEST_POLL_S) * 1000 + 1

    def _due_s(self) -> float | None:
        """When the next look, a kill, the spool's turn or a frame is due, or other jobs are to go back."""
        spool_s = None if self._spool is None else self._spool.due_s
        control = self._slot.control
        deadline_s = None if self.ended_by else control.deadline_s
        give_back_s = self._started_s + GIVES_BACK_AFTER_S if control.has_jobs else None
        times_s = (give_back_s, self._kill_at_s, self._guard.next_look_s, spool_s, deadline_s, control.due_s)
        return min((at_s for at_s in times_s if at_s is not None), default=None)

    def _heed_executor(self) -> None:
        grace_s = self._slot.control.abort_of(*self._attempt)
        if grace_s is not None:
            self._end_softly("cancelled", grace_s)

    def _end_softly(self, why: str, grace_s: float) -> None:
        """SIGTERM to the whole tree now, and the kill after the grace; once."""
        if self.ended_by:
            return
        self.ended_by = why
        self._kill_at_s = now_s() + grace_s
        family = descendants()
        if self._boxed:
            # bwrap's end would be the command's, without the grace. Its inner process ignores SIGTERM.
            family.pop(self._pid, None)
        signal_family(family, signal.SIGTERM)


def _pump(fd: int, capture: Capture) -> bool:
    """Read once; False at the end of the stream."""
    try:
        data = os.read(fd, READ_BYTES)
    except BlockingIOError:
        return True
    capture.feed(data)
    return bool(data)


def _drain(fd: int, capture: Capture) -> None:
    """Take what is still in a pipe; bounded, for a process that could not be killed may hold it."""
    for _ in range(DRAIN_READS):
        before = capture.size
        if not _pump(fd, capture) or capture.size == before:
            return
