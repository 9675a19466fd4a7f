"""Documentation as what it says to do: its fenced blocks, run in their order in one shell.

A block without a language is shell, `python` is a program, and `text` is what the block before it prints: its
lines are in the output, in their order; `…` stands for anything.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.conftest import ROOT, LocalCluster

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block, and what it is said to print."""

    language: str
    text: str
    printed: str = ""


def blocks_of(document: str, begin: str = "", end: str = "") -> list[Block]:
    """The blocks of a document between two headings."""
    text = (ROOT / document).read_text()
    text = text.split(begin, 1)[1] if begin else text
    text = text.split(end, 1)[0] if end else text
    blocks: list[Block] = []
    for language, content in _FENCE.findall(text):
        if language == "text":
            blocks[-1] = Block(blocks[-1].language, blocks[-1].text, content)
        else:
            blocks.append(Block(language, content))
    return blocks


def run_blocks(blocks: Sequence[Block], home: Path, port: int, environment: dict[str, str]) -> None:
    """Run them with `home` as the home and working directory, and the cluster at `port`."""
    script = [
        "set -eo pipefail",
        f'khala() {{ if [ "$1" = up ]; then shift; command khala up --port {port} "$@"; '
        'else command khala "$@"; fi; }',
    ]
    for number, block in enumerate(blocks):
        text = block.text.replace("127.0.0.1:7000", f"127.0.0.1:{port}")
        script.append(f"exec > {home}/out.{number} 2>&1")
        if block.language == "python":
            (home / f"block{number}.py").write_text(text)
            text = f"python {home}/block{number}.py"
        script.append(text)
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=home, timeout=580, check=False, stdin=subprocess.DEVNULL,
        env={**environment, "HOME": str(home), "PATH": path},
    )  # fmt: skip
    outputs = sorted(home.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    said = outputs[-1].read_text()
    text = blocks[len(outputs) - 1].text
    logs = LocalCluster(home / ".local/share/khala").logs()
    assert ended.returncode == 0, f"block {len(outputs)} failed:\n{text}\n{said}\n{logs}"
    for block, output in zip(blocks, outputs, strict=True):
        _check(block, output.read_text())


def _check(block: Block, output: str) -> None:
    lines = output.splitlines()
    for wanted in block.printed.splitlines():
        pattern = ".*".join(re.escape(part.strip()) for part in wanted.split("…"))
        while lines and not re.fullmatch(pattern, lines[0].strip()):
            lines.pop(0)
        assert lines, f"no line is {wanted!r} after\n{block.text}\nbut:\n{output}"
        lines.pop(0)
