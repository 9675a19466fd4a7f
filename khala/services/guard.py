"""Guards one native server: ends it when the node that started it dies (P21).

Run as `python -I -S guard.py CONTROL_FD GRACE_S PROGRAM ARGUMENT…`; a process of its own with one
thread and the standard library only. CONTROL_FD is one end of a socket pair whose other end is in
the node. When that end closes or shuts down, however the node ended, the server gets SIGTERM and
after GRACE_S seconds SIGKILL. The guard writes `started PID` and `ended STATUS` (as of waitpid) to
it. A guard that is killed takes the server along, by PR_SET_PDEATHSIG: the server's parent is the
guard's only thread, so the signal means the guard's death and nothing else (prctl(2)).
Other inherited descriptors (the lock of the data directory) are held and passed on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_HEEDED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """Run the server to its end; answers 0, or 127 when it could not be executed."""
    control, grace_s, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    told_to_stop: list[int] = []
    for number in _HEEDED:
        signal.signal(number, lambda sent, _: None if sent == signal.SIGCHLD else told_to_stop.append(sent))
    server = _launch(command, control)
    _report(control, f"started {server}\n")
    kill_at: float | None = None
    while True:
        ended, status = os.waitpid(server, os.WNOHANG)
        if ended:
            _report(control, f"ended {status}\n")
            return 127 if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 127 else 0
        if told_to_stop and kill_at is None:
            os.kill(server, signal.SIGTERM)
            kill_at = time.monotonic() + grace_s
        pause_s = None
        if kill_at is not None:
            pause_s = kill_at - time.monotonic()
            if pause_s <= 0:
                os.kill(server, signal.SIGKILL)
                pause_s = None
        watched = [wake] if told_to_stop else [wake, control]
        readable, _, _ = select.select(watched, [], [], pause_s)
        if wake in readable:
            os.read(wake, 512)
        if control in readable and _node_is_gone(control):
            told_to_stop.append(0)


def _launch(command: list[str], control: int) -> int:
    guard = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.fork()
    if server:
        return server
    try:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:  # it died before the line above
            os._exit(126)
        os.close(control)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error}\n".encode())
    os._exit(127)


def _node_is_gone(control: int) -> bool:
    try:
        return not os.read(control, 512)
    except ConnectionResetError:
        return True


def _report(control: int, line: str) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        os.write(control, line.encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
