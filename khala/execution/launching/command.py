"""From a command of a specification to an exec: checks, environment, standard input, the exec itself."""
# Starts without pathlib.
# ruff: noqa: PTH113

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass, field
from typing import Any

from .box import Box
from .guard import Guard
from .slot import Slot
from .workspace import write_all

NOT_FOUND, NOT_RUNNABLE = 127, 126
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class BadCommand(Exception):
    """The command cannot even be tried; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a command runs: under `guard`, and inside of `box`, if there is one, with these options of
    it; it tells on `status_fd` how far it came."""

    guard: Guard
    box: Box | None = None
    box_options: list[str] = field(default_factory=list)
    status_fd: int = -1


class CommandRun:
    """One phase's command, checked and ready to be run by a forked child: call it there."""

    def __init__(
        self, slot: Slot, workspace_fd: int, command: dict[str, Any], env: dict[str, str], place: Place
    ) -> None:
        self._slot = slot
        self._place = place
        self._workspace_fd = workspace_fd
        self._argv = ["/bin/bash", "-c", command["shell"]] if command["shell"] else list(command["argv"])
        self._env = env
        if not self._argv:
            raise BadCommand("has neither shell nor argv")
        if any("\0" in part for part in self._argv):
            raise BadCommand("has a NUL byte")

    def __call__(self) -> int:
        """Become the task and exec; returns a shell's exit code for a command that cannot start."""
        self._place.guard.enter()
        self._slot.become_task()
        os.fchdir(self._workspace_fd)
        box = self._place.box
        try:
            if box is None:
                os.execvpe(self._argv[0], self._argv, self._env)
            else:
                _require_program(self._argv[0], self._env.get("PATH", os.defpath))
                box.exec(self._place.box_options, self._argv, self._place.status_fd)
        except (OSError, UnicodeError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            os.write(2, f"khala: {self._argv[0]}: {text}\n".encode(errors="replace"))
            missing = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
            return NOT_FOUND if missing else NOT_RUNNABLE
        return NOT_RUNNABLE


def _require_program(name: str, path: str) -> None:
    """FileNotFoundError or PermissionError as exec would raise, for bwrap's own words say less."""
    places = [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in path.split(":")]
    found = [place for place in places if os.path.isfile(place)]
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not any(os.access(place, os.X_OK) for place in found):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


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
