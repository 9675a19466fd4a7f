"""The zygote: forks a launcher per slot on request, and sweeps up after launchers that died.

A single-threaded process started before the executor has threads. It is the parent, by adoption
too, of everything that a dead launcher leaves, and kills that before it reports the death. While it has
nothing else to do it removes the workspaces that are over. It ends when the executor closes its socket or
dies, after its last launcher.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any

from . import launcher
from .children import ChildWatch, now_s
from .ended import Ended
from .kernel import Kernel
from .tree import children_of, end_all

MAX_REQUEST_BYTES = 1 << 17
LAUNCHERS_END_WITHIN_S = 8.0
SWEEP_WITHIN_S = 1.0
SWEEP_AGAIN_MS = 500
REMOVE_EVERY_MS, REMOVE_IDLE_MS = 50, 1000
"""How often it looks for workspaces to remove, while there are some and while there are none."""
# A terminal or a service manager signals whole groups, but the executor decides when to end. Blocked,
# not ignored: a task inherits the default action of each, and unblocks them before its exec.
BLOCKED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)


def serve(control_fd: int, kept_fds: list[int]) -> None:
    """The zygote's whole life. `kept_fds` are locks that last as long as any launcher does."""
    for fd in (control_fd, *kept_fds):
        os.set_inheritable(fd, False)
    # What a shell makes its background jobs ignore a task shall not, and this process goes on not heeding it.
    ignored = {number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN}
    blocked = ignored.union(BLOCKED_SIGNALS)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number in blocked:
        signal.signal(number, signal.SIG_DFL)
    kernel = Kernel()
    kernel.adopt_orphans()
    kernel.name_process("khala-zygote")
    zygote = Zygote(socket.socket(fileno=control_fd), kernel)
    gc.collect()
    gc.freeze()
    gc.disable()
    zygote.serve()


class Zygote:
    """Requests are single SEQPACKET messages with one descriptor; notices are JSON messages back."""

    def __init__(self, control: socket.socket, kernel: Kernel) -> None:
        self._control = control
        self._kernel = kernel
        self._watch = ChildWatch(kernel)
        self._launchers: dict[int, int] = {}
        self._unswept: list[int] = []
        self._ended: Ended | None = None

    def serve(self) -> None:
        """Fork and sweep until the executor is gone, then see the launchers out."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._watch, select.POLLIN)
        removes = False
        while True:
            pause_ms = REMOVE_EVERY_MS if removes else SWEEP_AGAIN_MS if self._unswept else REMOVE_IDLE_MS
            ready = {fd for fd, _ in poll.poll(pause_ms)}
            if ready or self._unswept:
                self._watch.clear()
                self._bury()
            if self._control.fileno() in ready and not self._take_request():
                break
            removes = self._ended is not None and self._ended.clear()
        self._see_launchers_out()
        if self._ended is not None:
            self._ended.close()

    def _take_request(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, MAX_REQUEST_BYTES, 1)
        except ConnectionResetError:
            return False
        if not data:
            return False
        # recv_fds of Python 3.11 drops its flags; a task must not hold its launcher's socket.
        os.set_inheritable(fds[0], False)
        with socket.socket(fileno=fds[0]) as sock:
            settings = json.loads(data)
            if self._ended is None:
                self._ended = Ended.beside(settings["root"])
            try:
                pid = os.fork()
            except OSError as error:
                self._notice({"failed": settings["launch"], "reason": f"cannot fork: {error.strerror}"})
                return True
            if pid == 0:
                self._be_launcher(sock, settings)
        self._launchers[pid] = settings["launch"]
        return True

    def _be_launcher(self, sock: socket.socket, settings: dict[str, Any]) -> None:
        code = 1
        try:
            self._control.close()
            self._watch.close()
            launcher.serve(sock, settings, self._kernel)
            code = 0
        except BaseException:  # noqa: BLE001 - a forked child must not return into the zygote's frames
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(code)

    def _bury(self) -> None:
        """Reap dead launchers, kill what they left, and only then tell. What was noted of one that dies
        meanwhile is forgotten while waiting for the others, so it is looked for once more."""
        dead = self._reap()
        while True:
            self._unswept = end_all(
                self._orphans_left, self._watch, within_s=SWEEP_WITHIN_S, spared=self._launchers
            )
            for launch, status in dead:
                self._notice({"died": launch, "status": status})
            dead = self._reap()
            if not dead:
                return

    def _reap(self) -> list[tuple[int, int]]:
        dead = []
        for pid in list(self._launchers):
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped:
                dead.append((self._launchers.pop(pid), os.waitstatus_to_exitcode(status)))
        return dead

    def _orphans_left(self) -> bool:
        orphans = [pid for pid in children_of(os.getpid()) if pid not in self._launchers]
        return any(not os.waitpid(pid, os.WNOHANG)[0] for pid in orphans)

    def _notice(self, notice: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(notice).encode())
        except (BrokenPipeError, ConnectionResetError):
            return

    def _see_launchers_out(self) -> None:
        """They saw their sockets close too; those that do not end in time are killed."""
        deadline_s = now_s() + LAUNCHERS_END_WITHIN_S
        while self._launchers and now_s() < deadline_s:
            self._watch.wait(0.1)
            self._bury()
        for pid in self._launchers:
            os.kill(pid, signal.SIGKILL)
        while self._launchers:
            self._watch.wait(0.1)
            self._bury()
