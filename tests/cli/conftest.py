"""Running the command line in this process, and as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from client.gateway_stand_in import Answer, ScriptedGateway, serving

from khala.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Khala = Callable[..., Ended]


@pytest.fixture
def khala(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Iterator[Khala]:
    """Call the command line in this process; no cluster of this machine is seen by it."""
    for name in [name for name in os.environ if name.startswith("KHALA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KHALA_DATA_DIR", str(tmp_path / "none"))

    def call(*words: str, url: str = "") -> Ended:
        if url:
            monkeypatch.setenv("KHALA_URL", url)
        capfd.readouterr()
        code = main(list(words))
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Ended(int(code), out, err)

    yield call


@pytest.fixture
def gateway() -> Iterator[Callable[..., ScriptedGateway]]:
    """A scripted gateway for the length of the test."""
    open_ones = []

    def begin(*answers: Answer) -> ScriptedGateway:
        context = serving(ScriptedGateway(*answers))
        open_ones.append(context)
        return context.__enter__()

    yield begin
    for context in open_ones:
        context.__exit__(None, None, None)


def spawn(words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KHALA_")}
    return subprocess.Popen(
        [sys.executable, "-m", "khala.cli.main", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**kept, **environment},
    )
