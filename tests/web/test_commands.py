"""The equal command on a task's page: run in a shell, it makes the same task; or it is not offered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from web.browser import Visitor
from web.conftest import Site

Visit = Callable[..., Visitor]
MIB = 1024 * 1024
RUN = {"command": "cat d/in; printf '%s' \"$WHO\"; cat", "env": {"WHO": "it's"}}
ASKED = {
    "name": "equal", "user": 42, "labels": {"a": "b=c", "ä": "x y"}, "priority": -5,
    "inputs": [{"path": "d/in", "content": "no line break", "mode": "755"},
               {"path": "expected", "content": ""}],
    "outputs": [{"glob": "*.txt"}], "resources": {"cpus": 0.5, "memory": 3 * MIB},
    "retry": {"max_attempts": 2},
    "compile": {"command": "true > made.txt", "env": {"WHO": "it's"}, "limits": {"wall_time": 30}},
    "execute": {**RUN, "stdin": "END\n$HOME\n", "limits": {"wall_time": 20.5}},
    "expected_output": "no line breakit'sEND\n$HOME", "checker": "tokens",
    "isolation": "none", "network": True,
}  # fmt: skip
SPEC = (
    "name", "user", "labels", "priority", "inputs", "archives", "compile", "execute", "resources",
    "constraints", "retry", "queue_timeout", "ttl_after_finished", "depends_on", "on_disconnect",
    "isolation", "network", "output_globs", "checker", "checker_tolerance", "expected_output",
)  # fmt: skip


def line_on_page(visit: Visit, id: str) -> str:
    page = visit().open(f"/tasks/{id}")
    return page.get_by_label("khala command", exact=True).inner_text()


def in_a_shell(site: Site, text: str, folder: Path) -> str:
    """Run what the page says, as somebody who pastes it; what it prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    cluster = {"KHALA_URL": site.url, "KHALA_TOKEN": site.link.partition("#token=")[2]}
    ended = subprocess.run(
        ["bash", "-e"], input=text, capture_output=True, text=True, cwd=folder, timeout=120, check=False,
        env={"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", **cluster},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def spec_of(site: Site, id: str) -> dict[str, Any]:
    """What was asked; a command's text as the words that it means."""
    task = site.http.get(f"/api/v1/tasks/{id}?view=full").json()
    spec = {field: task[field] for field in SPEC}
    if isinstance(text := spec["execute"]["command"], str):
        spec["execute"]["command"] = ["bash", "-c", text]
    return spec


def test_the_line_makes_the_same_task(site: Site, visit: Visit, tmp_path: Path) -> None:
    first = site.finish(**ASKED)
    printed = in_a_shell(site, line_on_page(visit, first), tmp_path)
    assert printed == "no line breakit'sEND\n$HOME\n"
    newest = site.http.get("/api/v1/tasks?name_prefix=equal").json()["tasks"][0]
    assert newest["id"] != first
    assert newest["verdict"] == "accepted"
    assert spec_of(site, newest["id"]) == spec_of(site, first)


def test_a_task_that_waits_for_a_label_is_the_same_too(site: Site, visit: Visit, tmp_path: Path) -> None:
    """`khala submit` takes the same options, and does not wait."""
    task = {"constraints": {"gpu": "a 100"}, "isolation": "strict", "expected_output": ""}
    first = site.submit(**task, execute={"command": ["echo", "a b", "{}", ""]})
    line = line_on_page(visit, first)
    assert "khala run --constraint 'gpu=a 100' --isolation strict" in line
    second = in_a_shell(site, line.replace("khala run", "khala submit"), tmp_path).strip()
    assert spec_of(site, second) == spec_of(site, first)
    for id in (first, second):
        site.http.post(f"/api/v1/tasks/{id}/cancel", json={})


@pytest.mark.parametrize(
    "beyond",
    [
        {"queue_timeout": 60},
        {"retry": {"on": ["executor_lost", "exited"]}},
        {"outputs": [{"glob": "*", "required": False}, {"glob": "kept", "required": True}]},
        {"execute": {"command": "true > kept", "limits": {"memory": 64 * MIB}}},
        {"labels": {"a=b": "c"}},
    ],
)
def test_what_no_option_says_is_shown_for_curl_only(site: Site, visit: Visit, beyond: dict[str, Any]) -> None:
    id = site.finish(**{"execute": {"command": "true > kept"}} | beyond)
    page = visit().open(f"/tasks/{id}")
    expect(page.get_by_text("has no options for all of this task")).to_be_visible()
    expect(page.get_by_label("curl command", exact=True)).to_contain_text(next(iter(beyond)))
    expect(page.get_by_role("tablist", name="Ways")).to_have_count(0)


def test_the_page_tells_where_a_task_may_run_and_what_it_occupies(site: Site, visit: Visit) -> None:
    gpu = {"gpu": "a100", "zone": "b"}
    asked = {"constraints": gpu, "resources": {"cpus": 2, "memory": 512 * MIB}, "isolation": "strict"}
    id = site.submit(**asked, network=True)
    told = visit().open(f"/tasks/{id}").locator(".card").filter(has_text="What was asked")
    for text in (
        "Runs where",
        "gpu=a100",
        "zone=b",
        "CPUs2",
        "Memory512 MiB",
        "Isolationstrict",
        "Networkyes",
    ):
        expect(told).to_contain_text(text)
    site.http.post(f"/api/v1/tasks/{id}/cancel", json={})
    plain = visit().open(f"/tasks/{site.finish()}").locator(".card").filter(has_text="What was asked")
    expect(plain).to_contain_text("Priority")
    for text in ("Runs where", "CPUs", "Memory", "Isolation", "Network"):
        expect(plain).not_to_contain_text(text)
