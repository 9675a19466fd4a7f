"""`khala token`, against a real gateway in front of a judicator's real actors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from actors.world import World
from cli.conftest import Khala
from gateway.conftest import Gateway, Stage, running
from gateway.real_cluster import RealCluster
from sanic import Sanic


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(Sanic, "test_mode", True)
    world = World(tmp_path)
    try:
        with running(Stage(RealCluster(world)), auth="token") as gateway:
            yield gateway
    finally:
        world.close()


def test_a_token_is_made_used_listed_and_revoked(
    khala: Khala, site: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KHALA_TOKEN", "root")
    made = khala("token", "create", "ci", "--user", "new", "--role", "user", "--days", "1", url=site.url)
    assert (made.code, made.out[:6]) == (0, "khala_"), made
    monkeypatch.setenv("KHALA_TOKEN", made.out.strip())
    (own,) = json.loads(khala("token", "ls", "--json").out)["tokens"]
    assert (own["user"], own["name"]) == ("new", "ci") and own["expires_at"]
    assert khala("token", "create", "x", "--user", "root").code == 4
    assert khala("token", "create", "x", "--role", "user").code == 2
    assert own["id"] in khala("token", "ls").out
    assert khala("token", "revoke", own["id"]).out == f"{own['id']}  revoked\n"
    assert khala("token", "revoke", own["id"]).code == 4
