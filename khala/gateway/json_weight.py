"""How many values a JSON text holds, before anything is decoded: 32 MiB of `{},` become gigabytes.

Pure, and flat in memory itself. In the usual case it costs three passes of memchr.
"""

from __future__ import annotations

import re

from khala.errors import Refusal

MAX_JSON_VALUES = 1_000_000

# Everything up to the next separator that is not inside a string. Possessive, so that no text makes it
# backtrack.
_TO_SEPARATOR = re.compile(rb'(?:[^,\[{"]++|"(?:[^"\\]++|\\.)*+")*+[,\[{]', re.DOTALL)


def refuse_heavy_json(text: bytes) -> None:
    """Raise Refusal `too_large` when `text` holds more than `MAX_JSON_VALUES` values."""
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES and _is_heavy(text):
        raise Refusal(
            f"the body holds more than {MAX_JSON_VALUES} values; send it in parts", code="too_large"
        )


def _is_heavy(text: bytes) -> bool:
    separators = position = 0
    while separators <= MAX_JSON_VALUES:
        found = _TO_SEPARATOR.match(text, position)
        if found is None:
            return False
        position = found.end()
        separators += 1
    return True
