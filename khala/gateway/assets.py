"""The site's files as a worker has them: read once, compressed once, each with its tag. Pure after that.

All are served under an address with a digest of the whole in it, so that a browser keeps them for good and
never mixes two versions; only the page itself is asked for again.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "web"
PAGE = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file: as it is, compressed, its media type, and a tag that changes with it."""

    content: bytes
    compressed: bytes
    content_type: str
    tag: str


class Assets:
    """Every file below `folder` but the page, and the page with the addresses of the others in it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }
        whole = hashlib.sha256()
        for name, content in files.items():
            whole.update(b"%b\0%d\0%b" % (name.encode(), len(content), content))
        self.version = whole.hexdigest()[:16]
        self.base = f"/web/{self.version}"
        page = files.pop(PAGE).decode()
        preload = [f'<link rel="modulepreload" href="BASE/{name}">' for name in files if name.endswith(".js")]
        page = page.replace("<!-- modules -->", "\n".join(preload)).replace("BASE", self.base)
        self.page = _asset(PAGE, page.encode())
        self.files: Mapping[str, Asset] = {name: _asset(name, content) for name, content in files.items()}


def _asset(name: str, content: bytes) -> Asset:
    return Asset(
        content=content,
        compressed=gzip.compress(content, 9, mtime=0),
        content_type=_TYPES[Path(name).suffix],
        tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    )
