"""`khala up --detach`: the supervisor in a session of its own, reporting until it is ready.

The command starts itself again with one end of a pipe (`--report-fd`); the supervisor writes JSON
lines into it: what it does, then that it is ready, or why it failed. The end of the pipe without
either means that it died.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from khala.local.supervisor import Say


class Report:
    """The supervisor's end of the pipe. The command that waits may be gone; then nobody is told."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor: int | None = descriptor

    def say(self, line: str) -> None:
        """Tell what is done; after the cluster is ready the log is the only listener."""
        with contextlib.suppress(OSError):  # a full disk must not end the supervisor
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        self._send({"say": line})

    def ready(self, answer: Mapping[str, Any]) -> None:
        """The cluster is ready: the waiting command may return."""
        self._send({"ready": answer})
        self._close()

    def failed(self, reason: str, code: int) -> None:
        """Nothing runs; `code` is the exit code that the waiting command should have."""
        self._send({"failed": reason, "code": code})
        self._close()

    def _send(self, line: Mapping[str, Any]) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, json.dumps(line).encode() + b"\n")
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def log_to(path: Path) -> None:
    """Send this process's output to a file, from now on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def start_detached(
    arguments: Sequence[str], say: Say, log: Path, inherited: Sequence[int] = ()
) -> tuple[Mapping[str, Any] | None, str, int]:
    """Start `arguments` with a report pipe and wait for what comes of it.

    Answers (what ready said, "", 0) or (None, the reason, the exit code). Ctrl-C stops the start.
    `inherited` are further descriptors for it.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = subprocess.Popen(
        [*arguments, f"--report-fd={writing}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writing, *inherited),
        start_new_session=True,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as lines:
        while True:
            try:
                text = lines.readline()
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)
                continue
            if not text:
                return None, f"the supervisor ended (exit code {child.wait()}): see {log}", 1
            line = json.loads(text)
            if "ready" in line:
                child.returncode = 0  # It outlives this command, which must not wait for it.
                return line["ready"], "", 0
            if "failed" in line:
                child.wait()
                return None, line["failed"], line["code"]
            say(line["say"])
