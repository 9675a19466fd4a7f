"""Requests made from the project's own OpenAPI document: no 5xx, and no answer that it does not have.

KHALA_API_EXAMPLES says how many in all (300).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from actors.world import World
from gateway.conftest import Gateway, Stage, running
from gateway.real_cluster import RealCluster
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = int(os.environ.get("KHALA_API_EXAMPLES", "300"))
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, many_apps_in_a_process: None) -> Iterator[Gateway]:
    world = World(Path(tmp_path_factory.mktemp("world")))
    try:
        with running(Stage(RealCluster(world, secured=False)), auth="none") as gateway:
            gateway.submit(name="one", labels={"a": "b"})
            yield gateway
    finally:
        world.close()


@pytest.mark.timeout(600 + EXAMPLES)
def test_the_api_is_what_its_document_says(site: Gateway) -> None:
    document = site.http.get("/api/v1/openapi.json").json()
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    assert len(operations) > 30
    statuses = set()
    for operation in operations:

        @settings(
            max_examples=max(2, EXAMPLES // len(operations)),
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            answer = case.call(base_url=site.url, timeout=60)
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)
            assert "Traceback" not in answer.text

        check()
    assert {200, 201, 404} <= statuses, "the requests reach too little"
