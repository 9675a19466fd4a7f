"""Exit codes, which scripts may rely on, and how an error is told: one line, with the next step.

`khala run` has its own rule: the task's exit code, 128 + signal, 124 when a time limit ended it, 130
after Ctrl-C, and 125 when Khala itself could not run it.
"""

from __future__ import annotations

import os
import sys
import traceback
from enum import IntEnum

from khala.errors import ConfigurationError, KhalaError, Refusal, Unavailable


class Exit(IntEnum):
    """The exit codes of every command but `run`."""

    OK = 0
    ERROR = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    TIME_LIMIT = 124
    NO_OUTCOME = 125
    INTERRUPTED = 130
    BROKEN_PIPE = 141


def code_of(error: KhalaError) -> Exit:
    """The exit code that stands for an error's family."""
    match error:
        case ConfigurationError():
            return Exit.USAGE
        case Unavailable():
            return Exit.UNREACHABLE
        case Refusal():
            return Exit.REFUSED
    return Exit.ERROR


def tell(error: BaseException, advice: str = "") -> None:
    """One line on stderr; with KHALA_DEBUG=1 the traceback too."""
    if os.environ.get("KHALA_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    text = " ".join(str(error).split()) or type(error).__name__
    note(f"khala: {text} ({advice})" if advice else f"khala: {text}")


def note(line: str) -> None:
    """A line for the operator. Nobody may be there to read it, which must not stop a shutdown."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        return
