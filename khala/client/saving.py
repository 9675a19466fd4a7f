"""Saving a downloaded file: beside its place first, checked, then renamed into it.

The path comes from a cluster that may be anybody's: it must not lead out of the folder. Blocks.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from khala.client.views import OutputFileView
from khala.errors import Refusal, Unavailable

_EXECUTABLE, _PLAIN = 0o777, 0o666


async def save(file: OutputFileView, target: Path, pieces: AsyncIterator[bytes]) -> None:
    """Save `file`, which comes in `pieces`, at `target`."""
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".khala-get-", dir=target.parent)
    part = Path(name)
    try:
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
            async for piece in pieces:
                size += len(piece)
                digest.update(piece)
                opened.write(piece)
        if size < file.size:
            raise Unavailable(f"{file.path}: {size} of {file.size} bytes came: try again")
        if digest.hexdigest() != file.sha256:
            raise Refusal(f"{file.path}: what came has another digest than was announced", code="invalid")
        part.chmod((_EXECUTABLE if file.executable else _PLAIN) & ~_umask())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def place_of(path: str, folder: Path) -> Path:
    """Where `path` lies in `folder`; Refusal if it would lead out of it."""
    parts = path.split("/")
    if path.startswith("/") or "\0" in path or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise Refusal(f"{path!r} is no path below a folder", code="invalid", field="path")
    return folder / path


def _umask() -> int:
    """The process's; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
