"""The query part of a URL, read strictly: what is not known or not well formed is refused.

A misspelt filter that is silently ignored lists the wrong tasks; so every parameter must be one that
the route takes, given once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from sanic.request import Request

from khala.errors import Refusal

_TASK_ID = re.compile(r"[0-9a-f]{24}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_PARAMETERS = 100
_MAX_VALUE_CHARS = 2048


class Query:
    """The parameters of one request, of which `known` (and `token`) may appear; None: any."""

    def __init__(self, request: Request, known: Sequence[str] | None) -> None:
        try:
            pairs = parse_qsl(
                request.query_string, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict"
            )
        except ValueError:
            raise _malformed("", "the query is not well formed") from None
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if known is not None and name not in known and name != "token":
                raise _malformed(name, "there is no such parameter here")
            if len(value) > _MAX_VALUE_CHARS or "\0" in value:
                raise _malformed(name, "too long, or not text")
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """The one value of `name`, or ""."""
        values = self._values.get(name, [])
        if len(values) > 1:
            raise _malformed(name, "given more than once")
        return values[0] if values else ""

    def texts(self, name: str) -> list[str]:
        """All values of `name`, which may be repeated or hold commas."""
        return [part for value in self._values.get(name, []) for part in value.split(",") if part]

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of `choices`; the first when there is none."""
        value = self.text(name) or choices[0]
        if value not in choices:
            raise _malformed(name, f"expected one of {', '.join(choices)}")
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`, or None."""
        value = self.text(name)
        if not value:
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not low <= int(value) <= high:
            raise _malformed(name, f"expected a whole number from {low} to {high}")
        return int(value)

    def seconds(self, name: str, high: float) -> float | None:
        """A number of seconds from 0 to `high`, or None."""
        value = self.text(name)
        if not value:
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number <= high:
            raise _malformed(name, f"expected seconds from 0 to {high:g}")
        return number

    def time(self, name: str) -> float | None:
        """Unix seconds of an RFC 3339 time, or None."""
        value = self.text(name)
        return None if not value else unix_time(value, name)


def unix_time(text: str, field: str) -> float:
    """Unix seconds of an ISO 8601 time; without a zone it is UTC."""
    try:
        # A "+" that was not escaped in a URL arrives as a blank.
        moment = datetime.fromisoformat(text.replace(" +", "+").replace(" ", "T" if "T" not in text else "+"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _malformed(field, "expected a time such as 2026-01-31T12:00:00Z") from None


def task_id(text: str, field: str = "id") -> str:
    """`text` if it has the form of a task's or a job's id, or Refusal."""
    if not _TASK_ID.fullmatch(text):
        raise _malformed(field, "the id of a task or a job is 24 lowercase hexadecimal digits")
    return text


def file_id(text: str) -> str:
    """`text` if it has the form of a file's id, or Refusal."""
    if not _SHA256.fullmatch(text):
        raise _malformed("sha256", "a file's id is the 64 lowercase hexadecimal digits of its SHA-256")
    return text


def _malformed(field: str, problem: str) -> Refusal:
    name = field[:64]
    return Refusal(f"{name}: {problem}" if name else problem, code="malformed", field=name)
