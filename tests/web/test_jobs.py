"""Jobs in the browser: made in the form, watched, tried again, cancelled, and their results taken home."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Locator, Page, Route, expect
from wait import wait_until
from web.browser import PHONE, Visitor, cancel_now, reach
from web.conftest import Site

Visit = Callable[..., Visitor]


def test_a_job_is_made_by_keyboard_alone_watched_and_its_results_taken(
    site: Site, visit: Visit, tmp_path: Path
) -> None:
    page = visit().open("/jobs/new")
    reach(page, "Name of the job")
    page.keyboard.type("squares")
    reach(page, "Their name")
    page.keyboard.press("Control+A")
    page.keyboard.type("n")
    reach(page, "To before")
    page.keyboard.type("12")
    reach(page, "Execute command")
    page.keyboard.type("echo $(({n} * {n}))")
    expect(made(page)).to_contain_text("12 tasks")
    expect(made(page)).to_contain_text("echo $((11 * 11))")
    reach(page, "Name of each task")
    page.keyboard.type("square {n}")
    reach(page, "Create the job")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="squares")).to_be_visible()
    expect(page.locator(".standing")).to_contain_text("Succeeded 12 of 12 tasks finished")
    expect(page.get_by_role("row").filter(has_text="square 11")).to_contain_text("Succeeded")
    with page.expect_download() as taken:
        page.get_by_role("link", name="CSV", exact=True).click()
    taken.value.save_as(tmp_path / "results.csv")
    lines = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [line["stdout"] for line in lines] == [f"{n * n}\n" for n in range(12)]
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="squares")).to_contain_text("12 of 12")


def made(page: Page) -> Locator:
    return page.get_by_role("region", name="What it makes")


def test_why_some_failed_is_told_and_those_are_tried_again(site: Site, visit: Visit) -> None:
    task = {"name": "odd {n}", "execute": {"command": "exit $(({n} % 2))"}}
    id = site.sweep(name="odds", task=task, array={"range": {"stop": 7}, "name": "n"})
    page = visit(viewport=PHONE).open(f"/jobs/{id}")
    expect(page.locator(".standing")).to_contain_text("Failed 7 of 7 tasks finished")
    expect(page.get_by_role("listitem").filter(has_text="Exit code other than 0")).to_contain_text("3")
    page.get_by_role("button", name="Failed", exact=True).click()
    expect(page.locator("table.tasks .name")).to_have_text(["odd 1", "odd 3", "odd 5"])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Retry 3 failed").click()
    expect(page.locator(".standing")).to_contain_text("Failed 3 of 3 tasks finished")
    page.get_by_role("link", name=id[-6:]).click()
    expect(page.get_by_role("button", name="Retry 3 failed")).to_be_visible()


def test_the_end_of_a_job_is_shown_though_no_task_changes_with_it(site: Site, visit: Visit) -> None:
    id = site.sweep(name="ending", task={"execute": {"command": "true"}}, array={"range": {"stop": 3}})
    wait_until(lambda: site.job(id)["finished_at"], what="its end")
    told = iter(range(2))

    def late(route: Route) -> None:
        answer = route.fetch()
        early = answer.ok and next(told, None) is not None
        not_yet = {"state": "running", "finished_at": None} if early else {}
        route.fulfill(response=answer, json=answer.json() | not_yet)

    visitor = visit()
    visitor.page.route(f"**/api/v1/jobs/{id}", late)
    standing = visitor.open(f"/jobs/{id}").locator(".standing")
    expect(standing).to_contain_text("Succeeded 3 of 3 tasks finished")
    assert next(told, None) is None


def test_a_job_is_cancelled_while_it_is_watched(site: Site, visit: Visit) -> None:
    id = site.sweep(
        name="endless", task={"execute": {"command": "sleep 3000"}}, array={"range": {"stop": 200}},
        max_parallel=1,
    )  # fmt: skip
    page = visit().open(f"/jobs/{id}")
    standing = page.locator(".standing")
    expect(standing).to_contain_text("Running 0 of 200 tasks finished")
    page.get_by_role("button", name="After").click()
    expect(page.get_by_role("link", name="Task 50", exact=True)).to_be_visible()
    cancel_now(page)
    expect(standing).to_contain_text("Cancelled 200 of 200 tasks finished")
    expect(page.get_by_role("button", name="Retry 200 cancelled")).to_be_visible()
    assert site.job(id)["counts"]["cancelled"] == 200


def test_every_form_of_values_is_told_as_the_gateway_takes_it(site: Site, visit: Visit) -> None:
    visitor = visit()
    for kind, field, text, total, last in (
        ("a list", "Values", "a b\nc", 2, "echo c 1"),
        ("every combination of lists", "Lists", "value = 1, 2\ny = a,b,c", 6, "echo 2 5"),
        ("a table (CSV)", "Table", 'value,other\n"one, two",1\n"say ""no""",2\n', 2, 'echo say "no" 1'),
    ):
        page = visitor.open("/jobs/new")
        page.get_by_label("The values are").select_option(label=kind)
        page.get_by_label("Execute command").fill("echo {value} {index}")
        page.get_by_label(field, exact=True).fill(text)
        expect(made(page)).to_contain_text(f"{total} tasks")
        expect(made(page)).to_contain_text(last)
        page.get_by_role("button", name="Create the job").click()
        expect(page.locator(".standing")).to_contain_text(f"of {total} tasks finished")
        id = page.url.rpartition("/")[2]
        made_last = site.http.get(f"/api/v1/tasks?job_id={id}&page_size=1&view=basic").json()["tasks"][0]
        assert made_last["execute"]["command"] == last
        wait_until(lambda id=id: site.job(id)["finished_at"], timeout_s=300, what="the end of the job")


def test_what_is_wrong_in_the_form_is_told_at_its_field(visit: Visit) -> None:
    page = visit().open("/jobs/new")
    page.get_by_label("Execute command").fill("true")
    many, bound = page.get_by_label("To before"), page.get_by_label("Most failures")
    many.fill("0")
    page.get_by_role("button", name="Create the job").click()
    expect(many).to_have_attribute("aria-invalid", "true")
    expect(many).to_be_focused()
    many.fill("2")
    bound.fill("few")
    page.get_by_role("button", name="Create the job").click()
    expect(bound).to_have_attribute("aria-invalid", "true")


def test_what_people_wrote_is_text_and_nothing_else(site: Site, visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"`${alert(3)}"
    task = {
        "name": "{evil}",
        "execute": {"command": "cat; exit 1", "stdin": "{evil}", "env": {"E": "{evil}"}},
    }
    id = site.sweep(name=evil, task=task, array={"values": [evil], "name": "evil"})
    visitor = visit()
    visitor.page.on("dialog", lambda dialog: visitor.complaints.append(f"dialog {dialog.message}"))
    page = visitor.open(f"/jobs/{id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(evil)
    expect(page.get_by_role("link", name=evil)).to_be_visible()
    visitor.open("/jobs")
    expect(page.get_by_role("link", name=evil)).to_be_visible()
    visitor.open(f"/jobs/{quote(evil, safe='')}")
    expect(page.get_by_role("heading", name="There is no such job")).to_be_visible()
    page = visitor.open("/jobs/new")
    page.get_by_label("The values are").select_option(label="a list")
    page.get_by_label("Values", exact=True).fill(evil)
    page.get_by_label("Execute command").fill(f"echo {{value}} {evil}")
    expect(made(page)).to_contain_text(f"echo {evil} {evil}")
    assert page.locator("img, main script").count() == 0
