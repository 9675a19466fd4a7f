"""What a command line passes on of its standard input: all of it, read before the task exists."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import Any

from khala.cli.exits import note
from khala.client import Client

_SILENT_S = 3.0
_INLINE_BYTES = 64 * 1024
_DESCRIPTOR = 0


def read_standard_input(wanted: bool | None) -> bytes:
    """All of it; None takes what a file or a pipe has and leaves a terminal alone."""
    if wanted is False or (wanted is None and not _is_redirected()):
        return b""
    if wanted is None and not select.select([_DESCRIPTOR], [], [], _SILENT_S)[0]:
        note("khala: reading standard input, to pass it on; -n sends none")
    return sys.stdin.buffer.read()


def with_standard_input(client: Client, task: dict[str, Any], content: bytes) -> dict[str, Any]:
    """The task with `content` as its standard input; stored as a file when it is long or no text."""
    if not content or "execute" not in task:
        return task
    try:
        text = content.decode() if len(content) <= _INLINE_BYTES else None
    except UnicodeDecodeError:
        text = None
    given = {"stdin_file": client.upload(content)} if text is None else {"stdin": text}
    return {**task, "execute": {**task["execute"], **given}}


def _is_redirected() -> bool:
    try:
        mode = os.fstat(_DESCRIPTOR).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
