"""README's Docker section, run line by line as it stands, and `docker stop` of all that it started."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from containers.engine import Engine
from containers.readme import docker_blocks
from wait import wait_until

pytestmark = pytest.mark.timeout(700)

GRACE_S = 10.0
MAKE, FIRST, MORE, TASK, CLOSED = range(5)


def test_the_open_cluster(clean_engine: Engine, tmp_path: Path) -> None:
    """Users' own lines, their socket and their ports; it ends at the program's words."""
    blocks = docker_blocks()
    assert len(blocks) == 5
    names = "IP=$(hostname -I | cut -d ' ' -f 1)"
    assert names in blocks[MAKE] and blocks[MAKE].startswith("make image ")
    script = "\n".join([names, *blocks[FIRST : TASK + 1]])
    shown = clean_engine.run("bash", "-euo", "pipefail", "-c", script, timeout_s=120, cwd=tmp_path).stdout
    assert shown.endswith("From Khala: Hello World!\n")
    said = clean_engine.run("docker", "logs", "judicator-1")
    assert "this cluster is open" in said.stderr
    assert "mongod: {" in said.stdout
    published = clean_engine.docker("port", "judicator-2", "2001").splitlines()[0]
    assert not published.endswith(":2001")
    members = clean_engine.docker("logs", "judicator-2")
    assert "joins a cluster" in members
    wait_until(lambda: is_healthy(clean_engine, "judicator-2"), timeout_s=60, what="judicator-2")
    # The second judicator leaves; the first cannot, and ends all the same.
    for name in ("executor-1", "gateway-1", "judicator-2", "judicator-1"):
        stops_in_order(clean_engine, name)
    assert "left the cluster" in (said := clean_engine.docker("logs", "judicator-2")), said


def test_the_closed_cluster(clean_engine: Engine, tmp_path: Path) -> None:
    """The lines with a secret, without Docker's socket: the token printed once is what opens it."""
    names = "IP=$(hostname -I | cut -d ' ' -f 1)"
    script = "\n".join([names, docker_blocks()[CLOSED]])
    shown = clean_engine.run("bash", "-euo", "pipefail", "-c", script, timeout_s=120, cwd=tmp_path).stdout
    token = re.search(r"token, shown only now: (\S+)", shown)
    assert token is not None
    run = (
        f"{names}; until curl -fs http://$IP:7000/readyz > /dev/null; do sleep 1; done; "
        "docker run --rm -e KHALA_URL=http://$IP:7000 -e KHALA_TOKEN khala run -- echo hello"
    )
    refused = clean_engine.run("bash", "-c", run, check=False)
    assert refused.returncode != 0 and "asks for a token" in refused.stderr, refused
    ran = clean_engine.run("bash", "-c", run, variables={"KHALA_TOKEN": token[1]})
    assert ran.stdout == "hello\n"
    for name in ("closed-executor", "closed-gateway", "closed-judicator"):
        stops_in_order(clean_engine, name)


def is_healthy(engine: Engine, name: str) -> bool:
    """What the image's health check says."""
    return engine.docker("inspect", "--format={{.State.Health.Status}}", name) == "healthy"


def stops_in_order(engine: Engine, name: str) -> None:
    """`docker stop` ends it before it is killed, and it says that all was well."""
    began = time.monotonic()
    engine.docker("stop", name)
    took_s = time.monotonic() - began
    code = engine.docker("inspect", "--format={{.State.ExitCode}}", name)
    assert code == "0", engine.docker("logs", "--tail=20", name)
    assert took_s < GRACE_S
