"""The engine and the image, once a session; where there can be none the tests skip, or in CI fail."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from containers.engine import Engine, EngineFailed, engine

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "docker-tests"
BUILD_S = 540.0
LOG_LINES = 300


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only `make test-docker` (KHALA_DOCKER=all) starts an engine: with its image that takes minutes."""
    if os.environ.get("KHALA_DOCKER") != "all":
        here = [item for item in items if item.path.parent == ROOT / "tests/docker"]
        config.hook.pytest_deselected(items=here)
        items[:] = [item for item in items if item not in here]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the containers of a failed test wrote last goes with its report."""
    report = yield
    running = getattr(item, "funcargs", {}).get("clean_engine")
    if report.failed and report.when == "call" and running is not None:
        for name in running.docker("ps", "--all", "--format={{.Names}}").split():
            ended = running.run("docker", "logs", f"--tail={LOG_LINES}", name, check=False)
            report.sections.append((f"log of {name}", ended.stdout + ended.stderr))
    return report


def no_engine(why: str) -> None:
    """Skip, or in CI fail: there it must not go unseen."""
    if os.environ.get("CI"):
        pytest.fail(f"no Docker engine: {why}")
    pytest.skip(f"no Docker engine: {why}")


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that has the image `khala` of this very tree, in a network of its own."""
    log = tmp_path_factory.mktemp("engine") / "dockerd.log"
    try:
        with engine(KEPT / "data", log, own_network=False) as building:
            building.remove_everything()
            building.run(str(ROOT / "docker/build"), timeout_s=BUILD_S, cwd=ROOT)
            building.docker("image", "prune", "--force", "--filter=until=24h")
        with engine(KEPT / "data", log, own_network=True) as running:
            yield running
            running.remove_everything()
    except EngineFailed as why:
        no_engine(str(why))


@pytest.fixture
def clean_engine(docker_engine: Engine) -> Iterator[Engine]:
    """The engine, with no container before the test and none after it."""
    try:
        yield docker_engine
    finally:
        docker_engine.remove_everything()
