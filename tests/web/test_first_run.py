"""A stranger's first minutes, from an empty data directory: open the link, run the example, see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.conftest import make_cluster
from playwright.sync_api import Browser, expect
from wait import wait_until
from web.browser import Visitor
from web.conftest import Site, bring_up, expected


@pytest.fixture
def new_site(tmp_path: Path) -> Iterator[Site]:
    """A cluster that nobody has used."""
    for cluster in make_cluster(tmp_path / "cluster"):
        with (site := bring_up(cluster)).http:
            yield site


def test_the_first_program_is_three_clicks_away_and_no_executor_is_told(
    new_site: Site, browser: Browser
) -> None:
    stranger = Visitor(browser, new_site.link)
    page = stranger.open()
    expect(page.get_by_role("heading", name="Welcome to your cluster")).to_be_visible()
    assert "token" not in page.url
    page.get_by_role("button", name="Run this example").click()
    expect(page.get_by_role("log")).to_have_text("From Khala: Hello World!")
    expect(page.locator(".standing")).to_contain_text("Output as expected")
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("link", name=re.compile("Succeeded"))).to_contain_text("1")
    expect(page.get_by_role("link", name="hello")).to_be_visible()

    (executor,) = [one for one in new_site.cluster.processes("executor-1") if "executor" in one.cmdline()]
    executor.suspend()
    try:
        wait_until(lambda: page.get_by_text("No executor is here").is_visible())
        expect(page.get_by_text("khala executor --etcd-cluster-join-member-client=")).to_be_visible()
    finally:
        executor.resume()
    expect(page.get_by_text("No executor is here")).to_be_hidden()
    stranger.context.close()
    assert not [text for text in stranger.complaints if not expected(text)]
