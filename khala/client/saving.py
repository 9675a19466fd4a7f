"""Saving a downloaded file: beside its place first, checked, then renamed into it.

The path comes from a cluster that may be anybody's: it must not lead out of the folder. Blocks.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from khala.client.views import OutputFileView
from khala.errors import Refusal, Unavailable

Write = Callable[[bytes], object]
_EXECUTABLE, _PLAIN = 0o777, 0o666


def save(file: OutputFileView, folder: Path, download: Callable[[Write], None]) -> Path:
    """Save `file` below `folder`; `download` hands its bytes to a function. The path of what was saved."""
    target = folder / _safe(file.path)
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".khala-get-", dir=target.parent)
    part = Path(name)
    try:
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor

            def write(data: bytes) -> None:
                nonlocal size
                size += len(data)
                digest.update(data)
                opened.write(data)

            download(write)
        if size < file.size:
            raise Unavailable(f"{file.path}: {size} of {file.size} bytes came: try again")
        if digest.hexdigest() != file.sha256:
            raise Refusal(f"{file.path}: what came has another digest than was announced", code="invalid")
        part.chmod((_EXECUTABLE if file.executable else _PLAIN) & ~_umask())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _safe(path: str) -> PurePosixPath:
    parts = path.split("/")
    if path.startswith("/") or "\0" in path or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise Refusal(f"{path!r} is no path below a folder", code="invalid", field="path")
    return PurePosixPath(path)


def _umask() -> int:
    """The process's; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
