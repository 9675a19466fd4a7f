"""From a command of a specification to what an exec takes: arguments, environment, standard input."""

from __future__ import annotations

import os
from typing import Any

from .sealed import sealed_file
from .slot import Slot


class BadCommand(Exception):
    """The command cannot even be tried; says why."""


def arguments(command: dict[str, Any]) -> list[str]:
    """What to exec. BadCommand for what is nothing, or what exec cannot take."""
    argv = ["/bin/bash", "-c", command["shell"]] if command["shell"] else list(command["argv"])
    if not argv:
        raise BadCommand("has neither shell nor argv")
    if any("\0" in part for part in argv):
        raise BadCommand("has a NUL byte")
    return argv


def places_of(name: str, env: dict[str, str]) -> list[str]:
    """Where the program `name` may be, as execvp(3) looks for it."""
    if "/" in name:
        return [name]
    return [f"{folder or '.'}/{name}" for folder in env.get("PATH", os.defpath).split(":")]


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
    return sealed_file("stdin", content)
