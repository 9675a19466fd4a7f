"""The executor's handle of its zygote: start, ask for launchers, read notices, stop.

Used by one thread at a time. It never forks the executor itself: the zygote is a fresh process.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from khala.errors import Fault

ENTRY = Path(__file__).with_name("zygote.py")
MAX_NOTICE_BYTES = 1 << 16


class ZygoteProcess:
    """One running zygote. `kept_fds` are descriptors that it and its launchers hold open."""

    def __init__(self, kept_fds: Sequence[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = (theirs.fileno(), *kept_fds)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(ENTRY), *map(str, fds)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=fds,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.defpath},
            )
        except OSError as error:
            ours.close()
            raise Fault(f"the zygote could not be started: {error}") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        self._control = ours

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def fileno(self) -> int:
        """For a selector: readable when there are notices, or the zygote is dead."""
        return self._control.fileno()

    def launch(self, request: dict[str, Any]) -> socket.socket:
        """Ask for a launcher; returns the executor's end of its socket. OSError if the zygote is dead
        or does not read."""
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return ours

    def read_notices(self) -> list[dict[str, Any]] | None:
        """What it has said since the last call; None when it is dead."""
        notices: list[dict[str, Any]] = []
        while True:
            try:
                data = self._control.recv(MAX_NOTICE_BYTES)
            except BlockingIOError:
                return notices
            except ConnectionResetError:
                data = b""
            if not data:
                return notices or None
            notices.append(json.loads(data))

    def stop(self, within_s: float) -> None:
        """Close its socket: launchers and zygote end themselves. Killed after `within_s` seconds."""
        self._control.close()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
