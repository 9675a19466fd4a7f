"""The node's side of a guard: one running server, from launch to exit. Any one thread.

Starting goes through vfork and exec only, so it is safe in a process with threads and gRPC channels.
A node must not fork without exec meanwhile: the copy would keep the control socket, and so the server.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_GUARD = Path(__file__).with_name("guard.py")


class GuardedProcess:
    """A server under its guard. Make one per start; call `stop` or see it ended by `poll`."""

    def __init__(
        self, argv: tuple[str, ...], env: dict[str, str], *, cwd: Path, output: int, held: int, grace_s: float
    ) -> None:
        """Start it. `output` is the descriptor for stdout and stderr; `held` is inherited by guard
        and server as it is (a lock); both stay the caller's. Raises OSError."""
        self.pid: int | None = None
        self.exit: str | None = None
        self._said = b""
        self._grace_s = grace_s
        self._control, guards_end = socket.socketpair()
        self._control.setblocking(False)
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", _GUARD, str(guards_end.fileno()), str(grace_s), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=env,
                pass_fds=(guards_end.fileno(), held),
                start_new_session=True,  # a Ctrl-C at the terminal is the node's to handle
            )
        except OSError:
            self._control.close()
            raise
        finally:
            guards_end.close()

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    def poll(self, wait_s: float = 0.0) -> str | None:
        """How the server ended, in words, or None while it runs; waits up to `wait_s` for news."""
        if self.exit is not None:
            return self.exit
        news = select.poll()  # select(2) cannot watch a descriptor above 1023
        news.register(self._control, select.POLLIN)
        if not news.poll(wait_s * 1000):
            return None
        try:
            said = self._control.recv(512)
        except (BlockingIOError, ConnectionResetError):
            said = b""
        self._said += said
        for line in self._said.decode().splitlines():
            word, _, number = line.partition(" ")
            if word == "started":
                self.pid = int(number)
            elif word == "ended":
                self._end(_in_words(int(number)))
        if not said and self.exit is None:  # the guard is gone, and by its death the server
            self._end("its guard was killed")
        return self.exit

    def stop(self) -> None:
        """End the server: SIGTERM, after the grace SIGKILL; returns when both processes are gone."""
        if self.exit is None:
            self._control.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + self._grace_s + 3.0
            while self.poll(max(0.0, deadline - time.monotonic())) is None:
                if time.monotonic() >= deadline:
                    self._end("its guard did not answer")

    def _end(self, how: str) -> None:
        self.exit = how
        try:
            self._guard.wait(1.0)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        self._control.close()


def _in_words(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    return f"killed by signal {-code} ({signal.Signals(-code).name})"
