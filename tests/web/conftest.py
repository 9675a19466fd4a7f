"""One real cluster for the whole folder, brought up by `khala up`, and browsers before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from cluster.conftest import LocalCluster, make_cluster
from playwright.sync_api import Browser
from wait import wait_until
from web.browser import CHROMIUM, Visitor, chromium

LINK = re.compile(r"in a browser: (http://\S+/#token=\S+)")


class PatientTransport(httpx.HTTPTransport):
    """Asks again when the cluster cannot answer just now: on a busy machine it may be without a leader for a
    while. A 503 says that nothing happened."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        def answer() -> httpx.Response | None:
            told = super(PatientTransport, self).handle_request(request)
            if told.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return told
            told.close()
            return None

        found = wait_until(answer, timeout_s=240, what=f"an answer to {request.method} {request.url}")
        assert found is not None
        return found


class Site:
    """A cluster as its users meet it: `link` is what `khala up` printed."""

    def __init__(self, cluster: LocalCluster, link: str) -> None:
        self.cluster = cluster
        self.link = link
        self.url, _, token = link.partition("/#token=")
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=60, transport=PatientTransport())

    def submit(self, **task: Any) -> str:
        """Create a task; its id."""
        answer = self.http.post("/api/v1/tasks", json={"execute": {"command": "true"}} | task)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def finish(self, **task: Any) -> str:
        """Create a task and wait for its end; its id."""
        id = self.submit(**task)
        path = f"/api/v1/tasks/{id}?wait=20"
        wait_until(lambda: self.http.get(path).json()["finished_at"], timeout_s=240, what="its end")
        return id

    def sweep(self, **job: Any) -> str:
        """Create a job; its id."""
        answer = self.http.post("/api/v1/jobs", json=job)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, id: str) -> Any:
        """A job as it is now."""
        return self.http.get(f"/api/v1/jobs/{id}").json()

    def explained(self, id: str) -> Any:
        """Why a task waits, or how it ended."""
        return self.http.get(f"/api/v1/tasks/{id}/explain").json()

    def slots(self) -> int:
        """How many slots there are, by the reports of the executors."""
        executors = self.http.get("/api/v1/executors").json()["executors"]
        return sum(executor["slots"] for executor in executors)

    def state(self, id: str) -> str:
        return str(self.http.get(f"/api/v1/tasks/{id}?view=minimal").json()["state"])


def bring_up(cluster: LocalCluster) -> Site:
    """Start it as a user does, and read the link that is printed."""
    ended = cluster.khala("up", "--detach", "--port", "0", "--slots", "2")
    assert ended.returncode == 0, f"{ended.stderr}\n{cluster.logs()}"
    found = LINK.search(ended.stderr)
    assert found, ended.stderr
    return Site(cluster, found[1])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The cluster that all tests here share; each leaves no task running."""
    for cluster in make_cluster(tmp_path_factory.mktemp("web") / "cluster"):
        with (site := bring_up(cluster)).http:
            yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser process for a file; each visitor has a profile of their own in it. It ends with the file,
    because its library keeps an event loop running in this thread, beside which no other can run."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed: make system")
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors: `visit(color_scheme="dark")`. None of them may have met an error in a script, or a
    breach of the page's policy."""
    visitors: list[Visitor] = []

    def make(**options: Any) -> Visitor:
        visitors.append(Visitor(browser, options.pop("link", site.link), **options))
        return visitors[-1]

    yield make
    for visitor in visitors:
        visitor.context.close()
    complaints = [text for visitor in visitors for text in visitor.complaints if not expected(text)]
    assert not complaints, complaints


def expected(complaint: str) -> bool:
    """The browser tells of every answer that is no success; the page shows those."""
    return complaint.startswith("Failed to load resource")
