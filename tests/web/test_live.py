"""Pages that stay open while things happen: tasks come and end, output pours, the gateway goes and comes."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable

import psutil
from freezing import freeze
from playwright.sync_api import Browser, Page, expect
from wait import wait_until
from web.browser import Visitor, cancel_now
from web.conftest import Site

Visit = Callable[..., Visitor]
MIB = 1024 * 1024
POURED_BYTES = int(os.environ.get("KHALA_WEB_MIB", "6")) * MIB
MANY = int(os.environ.get("KHALA_WEB_TASKS", "1000"))
LONGEST_S = 0.5
TICKS = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.1; done"


def test_the_list_is_live_and_several_are_cancelled_at_once(site: Site, visit: Visit) -> None:
    page = visit().open("/tasks?name_prefix=crowd")
    expect(page.get_by_role("heading", name="No task is like that")).to_be_visible()
    ids = [site.submit(name=f"crowd {n}", execute={"command": "sleep 3000"}) for n in range(3)]
    for n in range(3):
        expect(page.get_by_role("link", name=f"crowd {n}")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    page.get_by_label("Select what is not finished").check()
    cancel_now(page, "Cancel 3")
    for n in range(3):
        row = page.get_by_role("row").filter(has_text=f"crowd {n}")
        expect(row).to_contain_text("Cancelled")
    assert {site.state(id) for id in ids} == {"cancelled"}


def test_a_long_list_is_gone_through_page_by_page(site: Site, visit: Visit) -> None:
    labels = {"crowd": "long"}
    tasks = [{"name": f"n{n:03}", "labels": labels, "execute": {"command": "true"}} for n in range(120)]
    results = site.http.post("/api/v1/tasks/batch", json={"tasks": tasks}).json()["results"]
    assert all("id" in one for one in results)
    page = visit().open("/tasks?label=crowd%3Dlong")
    names = page.locator("table.tasks .name")
    seen: set[str] = set()
    for number, size in enumerate((50, 50, 20), start=1):
        expect(page.get_by_text(f"Page {number}", exact=True)).to_be_visible()
        expect(names).to_have_count(size)
        wait_until(lambda known=frozenset(seen): not known & set(names.all_inner_texts()))
        seen |= set(names.all_inner_texts())
        if number < 3:
            page.get_by_role("button", name="Older").click()
    assert len(seen) == len(tasks)
    page.get_by_role("button", name="Newer").click()
    expect(names).to_have_count(50)


def test_the_page_goes_on_when_the_gateway_comes_back(site: Site, visit: Visit) -> None:
    id = site.submit(name="survivor", execute={"command": TICKS})
    page = visit().open(f"/tasks/{id}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("tick 3")
    supervisor = psutil.Process(
        next(one.ppid() for one in site.cluster.processes("gateway-1") if "gateway" in one.cmdline())
    )
    supervisor.suspend()
    try:
        for process in site.cluster.processes("gateway-1"):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has noticed the end of the one before
                process.kill()
        expect(page.get_by_text("The gateway does not answer.")).to_be_visible()
        before = last_tick(page)
    finally:
        supervisor.resume()
    wait_until(lambda: last_tick(page) > before + 5, timeout_s=300, what="output after the restart")
    expect(page.get_by_text("The gateway does not answer.")).to_be_hidden()
    ticks = [int(n) for n in re.findall(r"tick (\d+)", log.inner_text())]
    attempt = site.http.get(f"/api/v1/tasks/{id}").json()["attempt"]
    if attempt == 1:  # another one would begin to count anew
        assert ticks == list(range(1, len(ticks) + 1)), "nothing is lost and nothing comes twice"
    cancel_now(page)
    expect(page.locator(".standing")).to_contain_text("It was cancelled")


def test_a_gateway_that_hangs_is_noticed_and_the_page_goes_on_with_it(site: Site, visit: Visit) -> None:
    """It keeps its connections and takes new ones, but has no beats: noticed in 20 to 25 s."""
    page = visit().open("/tasks?name_prefix=thawed")
    expect(page.get_by_role("heading", name="No task is like that")).to_be_visible()
    notice = page.get_by_text("The gateway does not answer.")
    hanging = site.cluster.processes("gateway-1")
    try:
        for process in hanging:
            freeze(process.pid)
        expect(notice).to_be_visible()
    finally:
        for process in hanging:
            process.resume()
    expect(notice).to_be_hidden()
    site.finish(name="thawed")
    expect(page.get_by_role("link", name="thawed")).to_be_visible()


def last_tick(page: Page) -> int:
    return int(re.findall(r"tick (\d+)", page.get_by_role("log").inner_text())[-1])


def test_output_that_pours_blocks_nobody(site: Site, visit: Visit, browser: Browser) -> None:
    """By the time that the tab's main thread spent in one piece of work, whatever else the machine does."""
    line = "echo \"\\033[3$((RANDOM % 8))mcolour\\033[0m $(seq -s ' ' 1 200)\""
    command = (
        f"for i in $(seq 50); do {line}; done > block; while cat block; do :; done | head -c {POURED_BYTES}"
    )
    id = site.submit(name="pouring", execute={"command": command, "limits": {"output_size": 100 * MIB}})
    visitor = visit()
    visitor.open("/executors")
    browser.start_tracing(page=visitor.page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    page = visitor.open(f"/tasks/{id}")
    expect(page.locator(".standing")).to_contain_text("Succeeded", timeout=300_000)
    expect(page.get_by_role("button", name=re.compile("Load earlier output"))).to_be_visible()
    page.get_by_role("log").hover()
    page.mouse.wheel(0, -4000)
    wait_until(lambda: page.evaluate("(box => box.scrollTop + box.clientHeight < box.scrollHeight - 100)"
                                     "(document.querySelector('.screen'))"))  # fmt: skip
    longest_s = longest_work_s(json.loads(browser.stop_tracing()))
    assert longest_s < LONGEST_S
    assert page.evaluate("document.querySelector('.screen').textContent.length") < 2 * MIB
    before: int = page.evaluate("document.querySelector('.screen').textContent.length")
    page.get_by_role("button", name=re.compile("Load earlier output")).click()
    wait_until(lambda: page.evaluate("document.querySelector('.screen').textContent.length") > before)


def test_a_list_of_many_tasks_blocks_nobody(site: Site, visit: Visit, browser: Browser) -> None:
    """By the same measure, while a store of them is gone through: by page, by state, and as a job."""
    task = {"name": "one of many {index}", "execute": {"command": "true"}, "constraints": {"gpu": "none"}}
    id = site.sweep(name="many", task=task, array={"range": {"stop": MANY}})
    wait_until(lambda: site.job(id)["created"] == MANY, timeout_s=300, what="the tasks")
    visitor = visit()
    visitor.open("/executors")
    browser.start_tracing(page=visitor.page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    page = visitor.open("/tasks?name_prefix=one")
    names = page.locator("table.tasks .name")
    for number in range(3):
        expect(names.first).to_have_text(f"one of many {MANY - 1 - 50 * number}")
        page.get_by_role("button", name="Older").click()
    page.get_by_role("button", name="Waiting").click()
    expect(names.first).to_have_text(f"one of many {MANY - 1}")
    visitor.open(f"/jobs/{id}")
    expect(page.locator(".standing")).to_contain_text(f"of {MANY:,} tasks finished")
    expect(names).to_have_count(50)
    visitor.open("/")
    expect(page.get_by_role("link", name=re.compile("Waiting"))).to_contain_text(f"{MANY:,}")
    expect(page.get_by_role("link", name=f"one of many {MANY - 1}")).to_be_visible()
    assert longest_work_s(json.loads(browser.stop_tracing())) < LONGEST_S
    assert site.http.post(f"/api/v1/jobs/{id}/cancel", json={}).status_code == 202
    wait_until(lambda: site.job(id)["finished_at"], timeout_s=300, what="the end of all")


def longest_work_s(trace: dict[str, list[dict[str, object]]]) -> float:
    """The most CPU time that a renderer's main thread spent on one task (Chromium's trace events)."""
    events = trace["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"] == {"name": "CrRendererMain"}
    }
    spent = [
        float(str(event["tdur"])) / 1e6
        for event in events
        if event.get("ph") == "X" and "tdur" in event and (event["pid"], event["tid"]) in mains
    ]
    assert spent, "the trace has nothing of the page's main thread"
    return max(spent)
