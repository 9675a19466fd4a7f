"""A real Chromium, and a user before it. Debian's program, driven by Playwright."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or ""
PHONE = {"width": 375, "height": 812}
DESK = {"width": 1280, "height": 860}
PATIENCE_MS = 120_000
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without windows. Whatever is expected of it has time: the machine may be busy."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """Somebody with a browser of their own: `page` is their tab; what it complains about is kept."""

    def __init__(self, browser: Browser, link: str, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**{"viewport": DESK, **options})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.origin, _, self.fragment = link.partition("/#")
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type == "error" else None
        )

    def open(self, path: str = "/", *, signed_in: bool = True) -> Page:
        """Go to a page; the first time with the link's token."""
        fragment = f"#{self.fragment}" if signed_in and self.fragment else ""
        self.page.goto(f"{self.origin}{path}{fragment}")
        if fragment:  # the session begins before the page is left again
            self.page.get_by_role("navigation", name="Pages", exact=True).wait_for()
            self.fragment = ""
        return self.page

    def serious(self, *rules: str) -> list[str]:
        """What axe finds in the page as it is that keeps people out, by all rules or those named."""
        options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
        found: Any = self.page.evaluate(f"{AXE.read_text()}; axe.run(document, {json.dumps(options)})")
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]


CANCEL_NOW = """async (name) => {
    const button = (text) => [...document.querySelectorAll("button")].find((one) => one.textContent === text);
    button(name).click();
    for (let frame = 0; frame < 60 && !button("Now"); frame++) await new Promise(requestAnimationFrame);
    button("Now")?.click();  // unless the seconds are over already
}"""


def cancel_now(page: Page, name: str = "Cancel") -> None:
    """Click what cancels, and at once that it is meant: within the page, so that a busy machine does not let
    the seconds for second thoughts pass between both."""
    expect(page.get_by_role("button", name=name, exact=True)).to_be_enabled()
    page.evaluate(CANCEL_NOW, name)


CANCEL_AND_UNDO = """async () => {
    const button = (name) => [...document.querySelectorAll("button")].find((one) => one.textContent === name);
    button("Cancel").click();
    while (!button("Undo")) await new Promise(requestAnimationFrame);
    button("Undo").click();
}"""


def cancel_and_undo(page: Page) -> None:
    """Click what cancels, and think again: within the page, as `cancel_now` does."""
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_enabled()
    page.evaluate(CANCEL_AND_UNDO)


def reach(page: Page, name: str) -> None:
    """Press Tab until the control of that name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        told: str = page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"
        )
        if told == name:
            return
    raise AssertionError(f"no Tab leads to {name}")
