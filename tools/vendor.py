"""Refreshes the libraries that the site brings with it: `make vendor`.

Newer ones: `python tools/vendor.py preact=11.3.0`.

It packs each version that khala/gateway/web/vendor/versions.txt names with npm, checks the package against
the digest that stands there (a new version's is written there), and takes from it one module and the licence.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[1] / "khala/gateway/web/vendor"
VERSIONS = VENDOR / "versions.txt"
# The file in the package, and its name here.
FILES = {
    "preact": {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js"},
    "htm": {"dist/htm.module.js": "htm.js"},
    "uplot": {"dist/uPlot.esm.js": "uplot.js", "dist/uPlot.min.css": "uplot.css"},
}


def main(wanted: dict[str, str]) -> None:
    """Write every library anew; `wanted` are versions other than those that are written down."""
    lines = []
    for line in VERSIONS.read_text().splitlines():
        name, version, licence, known = line.split()
        if wanted.get(name, version) != version:
            version, known = wanted[name], ""
        with tempfile.TemporaryDirectory() as scratch:
            package = pack(name, version, Path(scratch))
            digest = "sha512-" + base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
            if known and digest != known:
                sys.exit(f"{name} {version} is not what it was: {digest}, expected {known}")
            extract(name, package)
        lines.append(f"{name} {version} {licence} {digest}\n")
        print(f"{name} {version}")
    VERSIONS.write_text("".join(lines))


def pack(name: str, version: str, folder: Path) -> Path:
    """The package as npm has it."""
    subprocess.run(
        ["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    (package,) = folder.glob("*.tgz")
    return package


def extract(name: str, package: Path) -> None:
    """The modules, which find each other beside them, and the licence."""
    with tarfile.open(package) as archive:
        for inside, here in {**FILES[name], "LICENSE": f"LICENSE-{name}.txt"}.items():
            content = archive.extractfile(f"package/{inside}")
            assert content is not None, inside
            text = content.read().decode()
            text = re.sub(r'from\s*"preact"', 'from"./preact.js"', text)
            text = re.sub(r"\n?//# sourceMappingURL=.*\n?", "\n", text)
            (VENDOR / here).write_text(text)


if __name__ == "__main__":
    main(dict(word.split("=", 1) for word in sys.argv[1:]))
