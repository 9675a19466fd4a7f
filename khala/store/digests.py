"""Checking that bytes are what their digest says; shared by both implementations, any thread."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from khala.errors import Refusal


def check_sha256(sha256: str) -> None:
    """Refuse what is not 64 lowercase hexadecimal digits."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise Refusal("a file's id is its SHA-256: 64 lowercase hexadecimal digits", field="sha256")


def not_stored(sha256: str) -> Refusal:
    """The refusal for a file that is not there."""
    return Refusal(f"no file {sha256} is stored", code="not_found", field="sha256")


def verified(sha256: str, size: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass `chunks` on; Refusal as soon as they exceed `size` bytes, or at their end if they disagree."""
    digest = hashlib.sha256()
    seen_bytes = 0
    for chunk in chunks:
        seen_bytes += len(chunk)
        if seen_bytes > size:
            raise Refusal(f"the file is longer than the {size} bytes announced", field="size")
        digest.update(chunk)
        yield chunk
    if seen_bytes != size:
        raise Refusal(f"the file has {seen_bytes} bytes, not the {size} announced", field="size")
    if digest.hexdigest() != sha256:
        raise Refusal("the file's bytes do not have the SHA-256 announced", field="sha256")
