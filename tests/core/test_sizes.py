"""Sizes as they are told, and that they can be given so."""

from __future__ import annotations

import pytest

from khala.config import parse_size
from khala.sizes import shown_size


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [(0, "0 bytes"), (1_000_000, "1000000 bytes"), (3 << 19, "1.5 MiB"), (8 << 30, "8192 MiB")],
)
def test_what_is_told_can_be_given(size_bytes: int, told: str) -> None:
    assert shown_size(size_bytes) == told
    assert parse_size(told.removesuffix("bytes").strip(), "--memory") == size_bytes
