"""Every page: what it shows, for everyone: in both lights, on a phone, by keyboard, to a screen reader."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from wait import wait_until
from web.browser import PHONE, Visitor, reach
from web.conftest import Site

Visit = Callable[..., Visitor]
MOST_TRANSFERRED = 400_000
MOST_MOVED = 0.05
MOVED = """() => new Promise((tell) => {
    let sum = 0;
    new PerformanceObserver((list) => {
        for (const shift of list.getEntries()) if (!shift.hadRecentInput) sum += shift.value;
    }).observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => tell(sum))));
})"""


@pytest.fixture(scope="module")
def wrong_task(site: Site) -> str:
    """A finished task with a little of everything."""
    return site.finish(
        name="sorted", labels={"course": "algo"}, expected_output="1\n2\n3\n", outputs=[{"glob": "*.txt"}],
        inputs=[{"path": "main.sh", "content": "echo 1; echo 3; echo hello > kept.txt; echo oh >&2\n"}],
        execute={"command": "bash main.sh", "limits": {"wall_time": 5, "memory": 64 * 1024 * 1024}},
    )  # fmt: skip


@pytest.fixture(scope="module")
def job(site: Site) -> str:
    """A finished job whose tasks ended in several ways."""
    task = {"name": "half {n}", "compile": {"command": "true"}, "execute": {"command": "test {n} = 1"}}
    id = site.sweep(name="halves", task=task, array={"values": [1, 2, 1], "name": "n"}, max_parallel=2)
    wait_until(lambda: site.job(id)["finished_at"], timeout_s=300, what="the end of the job")
    return id


def pages(task: str, job: str) -> dict[str, str]:
    return {
        "/": "Overview", "/tasks": "Tasks", f"/tasks/{task}": "sorted", "/new": "New task",
        "/jobs": "Jobs", f"/jobs/{job}": "halves", "/jobs/new": "New job",
        "/executors": "Executors", "/judicators": "Judicators", "/docs": "Khala HTTP API",
    }  # fmt: skip


def settled(page: Page, heading: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    expect(page.locator(".loading, .boot")).to_have_count(0)


@pytest.mark.parametrize(
    ("look", "rules"),
    [
        ({}, ()),
        ({"color_scheme": "dark"}, ("color-contrast",)),
        ({"viewport": PHONE, "has_touch": True}, ("target-size",)),
    ],
    ids=["light", "dark", "phone"],
)
def test_every_page_keeps_nobody_out(
    visit: Visit, wrong_task: str, job: str, look: dict[str, Any], rules: tuple[str, ...]
) -> None:
    """By all of axe's rules, and those that another look may break."""
    visitor = visit(**look)
    visitor.open()
    for path, heading in pages(wrong_task, job).items():
        page = visitor.open(path)
        settled(page, heading)
        assert visitor.serious(*rules) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"


def test_nothing_moves_while_a_page_fills(visit: Visit, wrong_task: str, job: str) -> None:
    """By the browser's own measure of what moved without anybody's doing (of which 0.1 counts as good)."""
    moved: dict[tuple[str, str], float] = {}
    for look, options in (("desk", {}), ("phone", {"viewport": PHONE, "has_touch": True})):
        visitor = visit(**options)
        visitor.open()
        for path, heading in pages(wrong_task, job).items():
            page = visitor.open(path)
            settled(page, heading)
            moved[look, path] = page.evaluate(MOVED)
    assert not {place: much for place, much in moved.items() if much > MOST_MOVED}


def test_an_unknown_address_says_so(visit: Visit) -> None:
    page = visit().open("/no/such/page")
    settled(page, "There is nothing at this address")
    expect(page.get_by_text("/no/such/page")).to_be_visible()
    page.get_by_role("link", name="To the overview").click()
    settled(page, "Overview")


def test_the_whole_site_is_small_and_kept(site: Site) -> None:
    with httpx.Client(base_url=site.url) as http:
        page = http.get("/")
        assert "script-src 'self';" in page.headers["content-security-policy"]
        names = re.findall(r'(?:href|src)="(/web/[^"]+)"', page.text)
        answers = [http.get(name) for name in dict.fromkeys(names)]
        assert all(answer.status_code == 200 for answer in answers)
        assert all("immutable" in answer.headers["cache-control"] for answer in answers)
        sent = [int(answer.headers["content-length"]) for answer in [page, *answers]]
        assert sum(sent) < MOST_TRANSFERRED
        assert http.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    ("old", "heading"), [("/search", "Tasks"), ("/add", "New task"), ("/get?id={task}", "sorted")]
)
def test_kv2s_addresses_lead_to_the_pages(visit: Visit, wrong_task: str, old: str, heading: str) -> None:
    settled(visit().open(old.format(task=wrong_task)), heading)


def test_a_task_is_written_by_keyboard_alone(site: Site, visit: Visit) -> None:
    page = visit().open("/new")
    settled(page, "New task")
    reach(page, "Execute command")
    page.keyboard.type("cat; echo typed")
    reach(page, "Execute input")
    page.keyboard.type("hello\n")
    reach(page, "Run it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("log")).to_have_text(re.compile(r"hello\s*typed"))


def test_the_members_are_told_and_an_executor_is_drained(site: Site, visit: Visit) -> None:
    page = visit().open("/judicators")
    row = page.get_by_role("row").filter(has_text="judicator-1")
    for told in ("Leader", "Live", "Primary"):
        expect(row).to_contain_text(told)
    page.get_by_role("link", name="Executors").click()
    expect(page.get_by_role("img", name="of 2 slots in use")).to_be_visible()
    page.get_by_role("button", name="Drain").click()
    expect(page.get_by_text("Takes no more")).to_be_visible()
    page.get_by_role("button", name="Let it take tasks").click()
    expect(page.get_by_text("Takes tasks")).to_be_visible()


def test_what_is_wrong_in_the_form_is_told_at_its_field(site: Site, visit: Visit) -> None:
    page = visit().open("/new")
    command, limit = page.get_by_label("Execute command"), page.get_by_label("Execute timeout (seconds)")
    command.fill("true")
    limit.fill("soon")
    page.get_by_role("button", name="Run it").click()
    expect(limit).to_have_attribute("aria-invalid", "true")
    limit.fill("5")
    page.get_by_role("button", name="Run it").click()
    expect(page.locator(".standing")).to_contain_text("Succeeded")


def test_who_has_no_token_is_asked_for_one_and_a_wrong_one_is_told(site: Site, visit: Visit) -> None:
    visitor = visit()
    page = visitor.open(signed_in=False)
    page.get_by_label("Token", exact=True).fill("not-a-token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("token")
    assert visitor.serious() == []
    page.get_by_label("Token", exact=True).fill(site.link.partition("#token=")[2])
    page.get_by_role("button", name="Sign in").click()
    settled(page, "Overview")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token", exact=True)).to_be_visible()


def test_who_was_offline_is_shown_the_list_by_itself(visit: Visit, job: str) -> None:
    visitor = visit()
    page = visitor.open("/executors")
    visitor.context.set_offline(True)
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The gateway does not answer.")
    visitor.context.set_offline(False)
    expect(page.get_by_role("link", name="halves")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_what_people_wrote_is_text_and_nothing_else(site: Site, visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"`${alert(3)}"
    id = site.finish(
        name=evil, labels={"a": evil[:60]}, expected_output=evil,
        inputs=[{"path": "e.txt", "content": evil}],
        execute={"command": "cat >&2; cat e.txt; cp e.txt '<b>.txt'; exit 1", "stdin": evil},
        outputs=[{"glob": "*.txt"}], compile={"command": f"echo {json.dumps(evil)} || true"},
    )  # fmt: skip
    visitor = visit()
    visitor.page.on("dialog", lambda dialog: visitor.complaints.append(f"dialog {dialog.message}"))
    page = visitor.open(f"/tasks/{id}")
    settled(page, evil)
    for tab in page.get_by_role("tab").all():
        tab.click()
    for summary in page.locator("summary").all():
        summary.click()
    expect(page.get_by_label("standard input", exact=True)).to_have_text(evil)
    for path in (
        "/",
        f"/tasks?label={evil}&name_prefix={evil}",
        "/tasks",
        f"/new?from={id}",
        f"/tasks/{evil}",
    ):
        visitor.open(path)
        expect(visitor.page.locator(".loading, .boot")).to_have_count(0)
    assert page.locator("img, main script").count() == 0
