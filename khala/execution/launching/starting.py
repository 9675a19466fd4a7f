"""Starting an attempt's children: what one becomes, and the fork that makes it so.

The launcher's thread, and the forked child. Where the launcher has a `Vfork`, a command starts that
way instead; the result is the same, and so are the exit codes of a command that cannot be executed.
"""
# Starts without pathlib.
# ruff: noqa: PTH113

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import traceback
from collections.abc import Callable, Sequence

from .program import Program, Stdio
from .slot import Slot
from .vforking import TakesLong

NOT_FOUND, NOT_RUNNABLE = 127, 126
MOST_SAID_BYTES = 4096


def start(slot: Slot, program: Program, stdio: Stdio, groups: Sequence[int]) -> int:
    """Start `program` in a session of its own, as a member of the groups that these descriptors stand for
    (`TaskGroup.entrances`); its pid. OSError if it cannot even be set up.

    A command that cannot be executed tells so on its stderr, and exits as a shell would.
    """
    if slot.vfork is not None:
        # A forked child tells what is wrong with the words, and may wait as long as it has to.
        with contextlib.suppress(UnicodeError, TakesLong):
            pid, failure = slot.vfork.start(program, stdio, groups)
            if failure is not None:
                os.write(stdio.stderr, _cannot_execute(program.name, failure))
            return pid
    return fork(lambda: _become(slot, program, groups), stdio)


def fork(entry: Callable[[], int], stdio: Stdio) -> int:
    """Fork; the child runs `entry`, in a session of its own, and exits with what it returns."""
    pid = os.fork()
    if pid == 0:
        _be_child(entry, stdio)
    return pid


def _cannot_execute(name: str, error: OSError | UnicodeError) -> bytes:
    """What the task's stderr says of it."""
    text = error.strerror if isinstance(error, OSError) else str(error)
    return f"khala: {name}: {text}\n".encode(errors="replace")[:MOST_SAID_BYTES]


def _be_child(entry: Callable[[], int], stdio: Stdio) -> None:
    """The child's whole life; never returns."""
    code = NOT_FOUND
    try:
        os.setsid()
        for number, fd in enumerate(stdio):
            os.dup2(fd, number)
        # What was blocked when the launcher forked, an abort's SIGTERM too, comes now.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        code = entry()
    except BaseException:  # noqa: BLE001 - a forked child must not return into the launcher's frames
        os.write(2, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(code)


def _become(slot: Slot, program: Program, groups: Sequence[int]) -> int:
    """In the child: become the program; returns its exit code if it cannot be executed."""
    for fd in groups:
        os.pwrite(fd, b"0", 0)
    for which, soft, hard in program.limits:
        resource.setrlimit(which, (soft, hard))
    slot.become_task()
    os.fchdir(program.folder_fd)
    for fd in program.kept_fds:
        os.set_inheritable(fd, True)
    try:
        if program.box:
            _require_program(program.places)
            os.execve(program.box, program.argv, program.env)
        _exec_first(program)
    except (OSError, UnicodeError) as error:
        os.write(2, _cannot_execute(program.name, error))
        missing = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
        return NOT_FOUND if missing else NOT_RUNNABLE
    return NOT_RUNNABLE


def _exec_first(program: Program) -> None:
    """As execvp(3): the first error that is not "not there" tells, if none can be run."""
    told: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for place in program.places:
        try:
            os.execve(place, program.argv, program.env)
        except OSError as error:
            if told.errno in (errno.ENOENT, errno.ENOTDIR):
                told = error
    raise told


def _require_program(places: list[str]) -> None:
    """FileNotFoundError or PermissionError as exec would raise, for bwrap's own words say less."""
    found = [place for place in places if os.path.isfile(place)]
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not any(os.access(place, os.X_OK) for place in found):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
