"""The order of a whole run: folders that take long come first, so that parallel workers end together."""

from __future__ import annotations

import pytest

LONG = ("docker", "faults", "cluster", "simulation", "abuse")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by folder only; within one the order stays."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, folder in enumerate(LONG) if folder in item.path.parts), len(LONG))
