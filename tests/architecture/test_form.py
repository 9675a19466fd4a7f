"""How the code must be made: short files, docstrings, nothing that only pretends to be there."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from architecture.sources import modules

LONGEST = 400


def test_no_file_is_longer_than_it_may_be() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules()}
    found = [f"{name} has {length} lines" for name, length in lengths.items() if length > LONGEST]
    assert not found, f"split them (at most {LONGEST} lines): " + ", ".join(found)


def test_every_module_says_what_it_is_for() -> None:
    found = [name for name, path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not found, "these modules have no docstring: " + ", ".join(found)


def test_nothing_is_a_stub() -> None:
    found = [f"{name}, {stub}" for name, path in modules() for stub in stubs(path.read_text())]
    assert not found, "write it or leave it out: " + "; ".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "def later():\n    pass",
        'class A:\n    async def later(self):\n        """Some day."""\n        pass',
        "def later():\n    raise NotImplementedError",
        "def later():\n    raise NotImplementedError('soon')",
    ],
)
def test_a_planted_stub_is_caught(source: str) -> None:
    assert len(list(stubs(source))) == 1


def test_a_protocols_dots_are_no_stub() -> None:
    assert not list(stubs("class P(Protocol):\n    def f(self) -> None:\n        '''Does.'''\n        ..."))


def stubs(source: str) -> Iterator[str]:
    """Functions that consist of `pass`, and every raised NotImplementedError."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if all(isinstance(statement, ast.Pass) for statement in body) and body:
                yield f"line {node.lineno}: {node.name} does nothing"
        elif isinstance(node, ast.Raise) and node.exc is not None and _is_unwritten(node.exc):
            yield f"line {node.lineno}: NotImplementedError"


def _is_unwritten(raised: ast.expr) -> bool:
    name = raised.func if isinstance(raised, ast.Call) else raised
    return isinstance(name, ast.Name) and name.id == "NotImplementedError"
