"""A role process ends when the supervisor that started it is dead.

The supervisor keeps the writing end of a pipe; one thread here waits for the pipe's end, which the
kernel sends whatever killed the supervisor, and then stops this process as an operator would.
"""

from __future__ import annotations

import os
import signal
import threading

_GRACE_S = 30.0


def end_with(descriptor: int) -> None:
    """Watch the inherited `descriptor` from a thread: at its end SIGTERM, after 30 s SIGKILL."""
    os.set_inheritable(descriptor, False)
    threading.Thread(target=_watch, args=(descriptor,), name="parent-watch", daemon=True).start()


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 1):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
