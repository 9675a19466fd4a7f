"""What each role is shown: nobody meets a button that they may not use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect
from web.browser import Visitor, cancel_and_undo
from web.conftest import Site

Visit = Callable[..., Visitor]
ACTS = ("New task", "New job", "Cancel", "Clone and edit", "Select what is not finished")
OPERATES = ("Drain",)


@pytest.fixture(scope="module")
def running(site: Site) -> Iterator[tuple[str, str]]:
    """A task and a job of the user `ann`, which go on until the tests are over."""
    people = [("ann", "user"), ("eve", "viewer")]
    for name, role in people:
        assert site.http.post("/api/v1/users", json={"name": name, "role": role}).status_code == 201
    owner = {"Authorization": f"Bearer {token_of(site, 'ann')}"}
    task = {"name": "hers", "execute": {"command": "sleep 600"}, "constraints": {"gpu": "none"}}
    id = site.http.post("/api/v1/tasks", json=task, headers=owner).json()["id"]
    job = {"name": "all hers", "task": task, "array": {"range": {"stop": 2}}}
    job_id = site.http.post("/api/v1/jobs", json=job, headers=owner).json()["id"]
    yield id, job_id
    site.http.post(f"/api/v1/tasks/{id}/cancel", json={})
    site.http.post(f"/api/v1/jobs/{job_id}/cancel", json={})


def token_of(site: Site, name: str) -> str:
    answer = site.http.post("/api/v1/tokens", json={"name": "browser", "user": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def shown(visitor: Visitor, running: tuple[str, str]) -> set[str]:
    """Which of the controls are to be seen somewhere."""
    id, job_id = running
    page = visitor.open("/tasks")
    expect(page.get_by_role("link", name="hers", exact=True).first).to_be_visible()
    found = visible(page)
    for path, heading in ((f"/tasks/{id}", "hers"), (f"/jobs/{job_id}", "all hers"), ("/jobs", "Jobs")):
        visitor.open(path)
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        expect(page.locator(".loading, .boot")).to_have_count(0)
        found |= visible(page)
    visitor.open("/executors")
    expect(page.get_by_role("link", name="Its tasks")).to_be_visible()
    return found | visible(page)


def visible(page: Page) -> set[str]:
    """Names of buttons, links and boxes that assistive technology is told of."""
    named = {
        name: [page.get_by_role(role, name=name, exact=True) for role in ("button", "link", "checkbox")]
        for name in (*ACTS, *OPERATES)
    }
    return {name for name, kinds in named.items() if any(kind.count() for kind in kinds)}


def test_an_administrator_may_do_all(site: Site, visit: Visit, running: tuple[str, str]) -> None:
    assert shown(visit(), running) == {*ACTS, *OPERATES}


def test_a_user_acts_but_operates_nothing(site: Site, visit: Visit, running: tuple[str, str]) -> None:
    visitor = visit(link=f"{site.url}/#token={token_of(site, 'ann')}")
    assert shown(visitor, running) == set(ACTS)
    page = visitor.open(f"/tasks/{running[0]}")
    cancel_and_undo(page)
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()


def test_a_viewer_sees_it_all_and_does_nothing(site: Site, visit: Visit, running: tuple[str, str]) -> None:
    visitor = visit(link=f"{site.url}/#token={token_of(site, 'eve')}")
    assert shown(visitor, running) == set()
    for form in ("/new", f"/new?from={running[0]}", "/jobs/new"):
        expect(visitor.open(form).get_by_role("heading", level=1)).to_have_text("Your role only looks")
    assert visitor.serious() == []


def test_whoever_reaches_an_open_cluster_may_do_all(
    site: Site, visit: Visit, running: tuple[str, str]
) -> None:
    """Such a gateway says of everybody that they are an administrator without a token (test_access.py)."""

    def nobody(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"name": "", "token": None})

    visitor = visit()
    visitor.page.route("**/api/v1/me", nobody)
    page = visitor.open("/executors")
    page.reload()
    expect(page.get_by_text("Open cluster")).to_be_visible()
    assert shown(visitor, running) == {*ACTS, *OPERATES}
