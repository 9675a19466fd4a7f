"""docs/guarantees.md names tests that exist, and every fault test."""

from __future__ import annotations

import ast
import re

from architecture.sources import ROOT

PAGE = ROOT / "docs" / "guarantees.md"
OF_THE_HARNESS = {"tests/faults/test_mix.py", "tests/faults/test_evidence.py"}
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def functions_of(path: str) -> set[str]:
    """The names of the test functions in a file."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def test_the_named_tests_exist() -> None:
    named = NAMED.findall(PAGE.read_text())
    assert len(named) > 20
    missing = [f"{path}::{name}" for path, name in named if name not in functions_of(path)]
    assert not missing, f"docs/guarantees.md names tests that do not exist: {missing}"


def test_every_fault_test_is_named() -> None:
    named = set(NAMED.findall(PAGE.read_text()))
    paths = sorted((ROOT / "tests" / "faults").glob("test_*.py"))
    there = {(str(path.relative_to(ROOT)), name) for path in paths for name in functions_of(str(path))}
    unnamed = {each for each in there - named if each[0] not in OF_THE_HARNESS}
    assert not unnamed, f"not in docs/guarantees.md: {sorted(unnamed)}"
