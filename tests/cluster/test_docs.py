"""README, the tutorial and the HTTP API's page do what they say: every command in them is run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.conftest import environment, make_cluster
from cluster.documents import Block, blocks_of, run_blocks
from services.processes import free_ports


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home directory; no cluster in it outlives the test."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is missing: apt-get install g++")
    # Short on purpose: unix sockets in it have at most 107 bytes for their names.
    with tempfile.TemporaryDirectory(prefix="khala-t-") as place:
        home = Path(place)
        for _ in make_cluster(home / ".local/share/khala"):
            yield home


def test_the_tutorial(home: Path) -> None:
    blocks = blocks_of("docs/tutorial.md")
    assert len(blocks) >= 9
    # What the reader is told to export further down, a program needs before.
    token = Block("", "export KHALA_TOKEN=$(khala status --show-token)\n")
    program = next(place for place, block in enumerate(blocks) if block.language == "python")
    (port,) = free_ports(1)
    run_blocks([*blocks[:program], token, *blocks[program:]], home, port, environment())


def test_readme_and_the_http_page(home: Path) -> None:
    readme = blocks_of("README.md", "## A first task", "## With Docker")
    assert readme[-1].text.startswith("khala down")
    blocks = [*readme[:-1], *blocks_of("docs/http-api.md"), readme[-1]]
    (port,) = free_ports(1)
    run_blocks([_with_token(block) for block in blocks], home, port, environment())


def _with_token(block: Block) -> Block:
    if block.language != "python":
        return block
    named = block.text.replace('token="…"', 'token=__import__("os").environ["TOKEN"]')
    return Block(block.language, named, block.printed)
