"""Lighthouse's marks of the site: `make lighthouse`. A cluster of its own, some tasks, and the real tool.

It comes from npm and needs Node 18.20 or later. Each page is measured `RUNS` times and has its best marks:
whatever else the machine does can only make them worse. Ends with 1 where a page misses a goal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cluster.conftest import make_cluster
from web.browser import CHROMIUM
from web.conftest import Site, bring_up
from web.screenshots import populate

TOOL = "lighthouse@12.8.2"
RUNS = 3
GOAL = 95
MOST_BYTES = 400_000
CATEGORIES = ("performance", "accessibility", "best-practices")
TOLD = ("largest-contentful-paint", "total-blocking-time", "cumulative-layout-shift")


def main(preset: str) -> int:
    """Measure the three pages that people look at most; how many miss a goal."""
    with tempfile.TemporaryDirectory() as place:
        for cluster in make_cluster(Path(place) / "cluster"):
            with (site := bring_up(cluster)).http:
                shown = populate(site)
                pages = ("/", "/tasks", f"/tasks/{shown['wrong']}")
                missed = [page for page in pages if not measured(site, page, preset, Path(place))]
    return len(missed)


def measured(site: Site, page: str, preset: str, place: Path) -> bool:
    """Print the page's best marks; does it reach every goal?"""
    reports = [run(site, page, preset, place) for _ in range(RUNS)]
    marks = {one: max(mark(report, one) for report in reports) for one in CATEGORIES}
    best = max(reports, key=lambda report: mark(report, "performance"))
    sent = int(best["audits"]["total-byte-weight"]["numericValue"])
    told = ", ".join(f"{name} {best['audits'][name]['displayValue']}" for name in TOLD)
    print(f"{page}: {', '.join(f'{one} {value}' for one, value in marks.items())}; {sent} bytes; {told}")
    return min(marks["performance"], marks["accessibility"]) >= GOAL and sent < MOST_BYTES


def mark(report: Any, category: str) -> int:
    """0 to 100; 0 too where Lighthouse could not tell."""
    return round(100 * (report["categories"][category]["score"] or 0))


def run(site: Site, page: str, preset: str, place: Path) -> Any:
    """One report of one page."""
    report = place / "report.json"
    report.unlink(missing_ok=True)
    headers = json.dumps({"Authorization": site.http.headers["authorization"]})
    command = [
        "npx", "--yes", TOOL, f"{site.url}{page}", "--quiet", "--output=json", f"--output-path={report}",
        f"--extra-headers={headers}", f"--only-categories={','.join(CATEGORIES)}",
        "--chrome-flags=--headless --no-sandbox", "--max-wait-for-load=20000",
        *(["--preset=desktop"] if preset == "desktop" else []),
    ]  # fmt: skip
    subprocess.run(
        command, check=False, env={**os.environ, "CHROME_PATH": CHROMIUM}, stderr=subprocess.DEVNULL
    )
    if not report.exists():
        sys.exit(f"Lighthouse wrote no report; this says why: {' '.join(command[:3])} --version")
    return json.loads(report.read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "desktop") > 0)
