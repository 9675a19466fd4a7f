"""A task's page while the task lives and when it is over."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect
from wait import wait_until
from web.browser import Visitor, cancel_and_undo, cancel_now
from web.conftest import Site

Visit = Callable[..., Visitor]


def test_a_task_is_watched_to_its_end(site: Site, visit: Visit) -> None:
    id = site.submit(
        name="watched",
        execute={"command": "echo begin; read -t 600 < go; printf '\\033[31mred\\033[0m end'; exit 3"},
        inputs=[{"path": "go", "content": "x\n"}],
    )
    page = visit().open(f"/tasks/{id}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("begin")
    standing = page.locator(".standing")
    expect(standing).to_contain_text("The program ended with exit code 3")
    page.get_by_role("tab", name=re.compile("^Output")).click()
    expect(log.locator(".f-c1")).to_have_text("red")
    assert site.state(id) == "failed"


def test_output_follows_can_be_paused_and_goes_on(site: Site, visit: Visit) -> None:
    id = site.submit(
        name="talker",
        execute={"command": "seq 1 300; i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.05; done"},
    )
    page = visit().open(f"/tasks/{id}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("tick 5")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused; there is more below")).to_be_visible()
    before = log.inner_text()
    page.get_by_role("button", name="Follow").click()
    wait_until(lambda: len(log.inner_text()) > len(before))
    cancel_and_undo(page)
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    wait_until(lambda: site.state(id) == "running", what="it to run on")
    cancel_now(page)
    expect(page.locator(".standing")).to_contain_text("It was cancelled")
    assert site.state(id) == "cancelled"


def test_wrong_output_is_shown_line_by_line_and_can_be_cloned(site: Site, visit: Visit) -> None:
    id = site.finish(
        name="wrong",
        execute={"command": "printf 'one\\ntwo \\nfour\\n'"},
        expected_output="one\ntwo\nthree\nfour\n",
    )
    page = visit().open(f"/tasks/{id}")
    expect(page.locator(".standing")).to_contain_text("its output is not the expected one")
    expect(page.get_by_text("1 of 4 lines differ.")).to_be_visible()
    expect(page.locator(".diff tr.same").nth(1)).to_contain_text("two·")
    expect(page.locator(".diff tr.missing")).to_contain_text("three")
    expect(page.get_by_label("khala command", exact=True)).to_contain_text("khala run --name wrong")
    page.get_by_role("link", name="Clone and edit").click()
    command = page.get_by_label("Execute command")
    expect(command).to_have_value("printf 'one\\ntwo \\nfour\\n'")
    command.fill("printf 'one\\ntwo\\nthree\\nfour\\n'")
    page.get_by_role("button", name="Run it").click()
    expect(page.locator(".standing")).to_contain_text("Output as expected")


ON_AND_BEHIND = "\\033[38;5;%sm%s\\033[0m \\033[48;5;%sm%s\\033[0m "
COLOURS = f"for i in $(seq 0 255); do printf '{ON_AND_BEHIND}' $i $i $i $i; done"


def test_colours_can_be_read_in_both_lights(site: Site, visit: Visit) -> None:
    """All of a terminal's 256, as text and behind it; a program does not know on what ground it is shown."""
    id = site.finish(name="colours", execute={"command": COLOURS})
    for light in ("light", "dark"):
        visitor = visit(color_scheme=light)
        page = visitor.open(f"/tasks/{id}")
        expect(page.get_by_role("log")).to_contain_text("255")
        assert visitor.serious("color-contrast") == [], light


def test_a_task_that_waits_tells_its_place_as_it_moves(site: Site, visit: Visit) -> None:
    """Nothing can take them, so that they stay; the one before it is cancelled while the page is open."""
    nowhere = {"gpu": "none"}
    first, second = (site.submit(name=f"place {n}", constraints=nowhere) for n in range(2))
    wait_until(lambda: site.explained(second)["place"] == {"before": 1, "exact": True, "waiting": 2})
    assert site.explained(second)["reason"].startswith("no executor can take it")
    slots = wait_until(site.slots, what="an executor that has reported")
    busy = [site.submit(execute={"command": "sleep 3000"}) for _ in range(2 * slots + 2)]
    page = visit().open(f"/tasks/{busy[-1]}")
    standing = page.locator(".standing")
    expect(standing).to_contain_text("of its owner come before it")
    for id in busy[:-1]:
        site.http.post(f"/api/v1/tasks/{id}/cancel", json={})
    expect(standing).to_contain_text("Running")
    for id in (first, second, busy[-1]):
        site.http.post(f"/api/v1/tasks/{id}/cancel", json={})


def test_a_task_that_is_not_there(visit: Visit) -> None:
    page = visit().open("/tasks/0123456789abcdef01234567")
    expect(page.get_by_role("heading", name="There is no such task")).to_be_visible()
