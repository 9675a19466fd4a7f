"""From a command of a specification to an exec: checks, environment, standard input, the exec itself."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Any

from .slot import Slot
from .workspace import write_all

NOT_FOUND, NOT_RUNNABLE = 127, 126
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class BadCommand(Exception):
    """The command cannot even be tried; says why."""


class CommandRun:
    """One phase's command, checked and ready to be run by a forked child: call it there."""

    def __init__(self, slot: Slot, workspace_fd: int, command: dict[str, Any], env: dict[str, str]) -> None:
        self._slot = slot
        self._workspace_fd = workspace_fd
        self._argv = ["/bin/bash", "-c", command["shell"]] if command["shell"] else list(command["argv"])
        self._env = env
        if not self._argv:
            raise BadCommand("has neither shell nor argv")
        if any("\0" in part for part in self._argv):
            raise BadCommand("has a NUL byte")

    def __call__(self) -> int:
        """Become the task and exec; returns a shell's exit code for a command that cannot start."""
        self._slot.become_task()
        os.fchdir(self._workspace_fd)
        try:
            os.execvpe(self._argv[0], self._argv, self._env)
        except (OSError, UnicodeError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            os.write(2, f"khala: {self._argv[0]}: {text}\n".encode(errors="replace"))
            missing = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
            return NOT_FOUND if missing else NOT_RUNNABLE


def task_environment(
    slot: Slot, workspace: str, asked: dict[str, str], task_id: str, attempt: int
) -> dict[str, str]:
    """The whole environment of a task: nothing is inherited. BadCommand for what exec cannot take."""
    for key, value in asked.items():
        if not key or "=" in key or "\0" in key or "\0" in value:
            raise BadCommand(f"has an environment variable that cannot be set: {key!r}")
    return {
        **slot.env,
        "HOME": workspace,
        "TMPDIR": workspace,
        **asked,
        "KHALA_TASK_ID": task_id,
        "KHALA_ATTEMPT": str(attempt),
    }


def open_stdin(command: dict[str, Any], blobs: list[bytes]) -> int:
    """A descriptor to read the command's standard input from. BadCommand if a stored file is missing."""
    if "stdin_file" in command:
        try:
            return os.open(command["stdin_file"], os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise BadCommand(f"has a stdin_file that is not on this executor ({error.strerror})") from error
    content = blobs[command["stdin"]]
    if not content:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        write_all(fd, content)
        # Sealed, or a task could grow it without bound.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd
