"""Every error that Khala raises on purpose, in three families.

*Refusal*: the caller is wrong; the message is safe to show and reaches HTTP as a 4xx.
*Unavailable*: try later; reaches HTTP as 503.
*Fault*: a bug or a broken part; the actor reports it, stops, and is started again.
A command's bad exit is an outcome of a task, never an exception.
"""

from __future__ import annotations


class KhalaError(Exception):
    """The base of every error raised on purpose."""


class Refusal(KhalaError):
    """The caller asked for something that cannot be done; nothing was changed.

    `code` is a short stable word (`invalid`, `not_found`, `conflict`, `too_large`, `unauthorized`,
    `forbidden`, …) and `field` names the offending input, when there is one.
    """

    def __init__(self, detail: str, *, code: str = "invalid", field: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.field = field


class Unavailable(KhalaError):
    """The cluster cannot do it now; the same call may succeed later.

    `retry_after_s` is the number of seconds after which a new try makes sense.
    """

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class OutcomeUnknown(Unavailable):
    """A write may or may not have happened: read back before deciding (P2)."""


class Fault(KhalaError):
    """A bug, or a part that broke; never the caller's doing."""


class StaleEpoch(Fault):
    """A guarded batch met a newer leader: nothing was written, and this leader must resign (P1)."""


class ConfigurationError(KhalaError):
    """A flag, an environment variable, a file or the host is not as it must be; says the next step."""
