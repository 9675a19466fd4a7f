"""The pictures of docs/web.md: `make screenshots`. A cluster of its own, some tasks, and a visitor."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from cluster.conftest import ROOT, make_cluster
from playwright.sync_api import Browser, expect
from wait import wait_until
from web.browser import PHONE, Visitor, chromium
from web.conftest import Site, bring_up

IMAGES = ROOT / "docs" / "img"
MOST_BYTES = 150_000
SIZE = {"width": 1120, "height": 760}
SLOW = "for i in $(seq 1 9000); do printf '\\033[32mok\\033[0m  step %s of 9000\\n' $i; sleep 0.1; done"


def main() -> None:
    """Take every picture anew."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        for cluster in make_cluster(Path(place) / "cluster"):
            with (site := bring_up(cluster)).http:
                take(site, browser, "first-run", "/", "Welcome to your cluster")
                shown = populate(site)
                take(site, browser, "overview", "/", "Overview")
                take(site, browser, "tasks", "/tasks", "Tasks")
                take(site, browser, "job", f"/jobs/{shown['job']}", "learning rates")
                take(site, browser, "task-live", f"/tasks/{shown['live']}", "simulation", color_scheme="dark")
                take(site, browser, "task-wrong", f"/tasks/{shown['wrong']}", "sorting", viewport=tall(1050))
                take(site, browser, "new-task", f"/new?from={shown['wrong']}", "Clone and edit")
                take(site, browser, "task-phone", f"/tasks/{shown['slow']}", "brute force", viewport=PHONE)


def tall(height: int) -> dict[str, int]:
    return {**SIZE, "height": height}


def populate(site: Site) -> dict[str, str]:
    """Tasks as a course would have them; the ids of those that are shown."""
    kinds = [("render frame", "true"), ("fold", "exit 1"), ("sweep", "echo 3")]
    for number in range(36):
        name, command = kinds[number % 3 if number % 5 else 2]
        site.submit(name=f"{name} {number}", user=number % 4, execute={"command": command})
    source = "seq 1 2\necho 4\necho 5\necho almost done >&2\n"
    wrong = site.finish(
        name="sorting", user=7, labels={"course": "algo", "week": "3"}, expected_output="1\n2\n3\n4\n5\n",
        inputs=[{"path": "main.sh", "content": source}], outputs=[{"glob": "*.txt"}],
        execute={"command": "bash main.sh | tee kept.txt", "limits": {"wall_time": 5, "memory": 1 << 26}},
    )  # fmt: skip
    slow = site.finish(
        name="brute force", execute={"command": "echo begin; sleep 60", "limits": {"wall_time": 1}}
    )
    rates = {"rate": [0.1, 0.01, 0.001], "seed": [1, 2, 3, 4, 5]}
    tried = {
        "name": "rate {rate}, seed {seed}",
        "execute": {"command": "sleep 0.{seed}; [ {rate} != 0.1 ] || exit {seed}"},
    }
    job = site.sweep(name="learning rates", task=tried, array={"matrix": rates}, max_parallel=2)
    wait_until(lambda: site.job(job)["finished_at"], timeout_s=300, what="the end of the job")
    live = site.submit(name="simulation", execute={"command": SLOW, "limits": {"wall_time": 1800}})
    site.submit(name="needs a GPU", constraints={"gpu": "yes"}, execute={"command": "nvidia-smi"})
    return {"wrong": wrong, "slow": slow, "live": live, "job": job}


def take(site: Site, browser: Browser, name: str, path: str, heading: str, **look: Any) -> None:
    """One picture; it must be small enough to be kept with the sources."""
    visitor = Visitor(browser, site.link, **{"viewport": SIZE, **look})
    visitor.open()
    page = visitor.open(path)
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    expect(page.locator(".loading, .boot")).to_have_count(0)
    page.wait_for_load_state("load")
    page.wait_for_timeout(1500)  # the first seconds of what is live
    file = IMAGES / f"web-{name}.png"
    page.screenshot(path=file)
    assert file.stat().st_size < MOST_BYTES, f"{file} has {file.stat().st_size} bytes"
    visitor.context.close()


if __name__ == "__main__":
    main()
