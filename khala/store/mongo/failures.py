"""What a pymongo exception means to Khala; the only place that decides it. Any thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import InvalidDocument, InvalidStringData
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from khala.errors import ConfigurationError, Fault, KhalaError, OutcomeUnknown, Refusal, Unavailable

UNAUTHORIZED, AUTHENTICATION_FAILED, DUPLICATE_KEY = 13, 18, 11000
# Server codes (src/mongo/base/error_codes.yml) that pass by themselves: elections, shutdowns, interrupted
# or overdue operations, lost cursors, write conflicts, a majority that cannot confirm, a full disk.
PASSING = frozenset(
    {6, 7, 24, 43, 46, 50, 64, 79, 89, 91, 100, 112, 133, 134, 189, 202, 237, 246, 251, 262, 290}
    | {9001, 10107, 11600, 11602, 13388, 13435, 13436, 14031}
)


@contextmanager
def translated(doing: str, *, writes: bool) -> Iterator[None]:
    """Raise what `doing` (words for the message) ran into as one of Khala's errors.

    With `writes`, trouble after the request may have left is OutcomeUnknown; otherwise Unavailable.
    """
    try:
        yield
    except PyMongoError as error:
        raise meaning(error, doing, writes=writes) from error
    except (InvalidDocument, InvalidStringData, OverflowError, UnicodeEncodeError) as error:
        raise Refusal(f"this cannot be stored: {error}") from error


def meaning(error: PyMongoError, doing: str, *, writes: bool) -> KhalaError:
    """The error of Khala's that says what `error` means."""
    detail = f"MongoDB could not {doing}: {type(error).__name__}: {first_line(error)}"
    if isinstance(error, DocumentTooLarge):
        return Refusal("one task is larger than 16 MB: upload large inputs as files", code="too_large")
    if isinstance(error, ServerSelectionTimeoutError):
        # pymongo raises it only when nothing was sent: a retry that finds no server raises the first error.
        return Unavailable(f"{detail}; is a majority of the judicators up?")
    if isinstance(error, OperationFailure) and error.code in (UNAUTHORIZED, AUTHENTICATION_FAILED):
        return ConfigurationError(f"{detail}; start this node with the cluster's own secret (--secret-file)")
    if is_passing(error):
        if writes:
            return OutcomeUnknown(f"{detail}; the write may have happened")
        return Unavailable(detail)
    return Fault(detail)


def is_passing(error: PyMongoError) -> bool:
    """May the same call succeed later, without anybody's doing?"""
    if isinstance(error, ConnectionFailure | AutoReconnect | ExecutionTimeout) or error.timeout:
        return True
    return isinstance(error, OperationFailure) and error.code in PASSING


def first_line(error: BaseException) -> str:
    """The error's text without the server's whole answer or the topology's description."""
    text = str(error).split(", full error:")[0].split(", Topology Description:")[0]
    return text.splitlines()[0][:300] if text else ""
