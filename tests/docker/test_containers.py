"""Khala in containers of a real engine: README's lines as they stand, faults, compose, swarm, isolation.

One file, so that one worker of the tests has the engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from containers.engine import Engine
from containers.loaded import load
from containers.readme import ROOT, docker_blocks
from wait import wait_until

pytestmark = pytest.mark.timeout(1800)

GRACE_S = 10.0
IMAGE_BYTES = 600_000_000
MAKE, FIRST, MORE, TASK, CLOSED = range(5)
IP = "IP=$(hostname -I | cut -d ' ' -f 1)"
URL = "http://127.0.0.1:7000"


def test_the_open_cluster(clean_engine: Engine, tmp_path: Path) -> None:
    """Users' own lines, their socket and their ports; it ends at the program's words."""
    blocks = docker_blocks()
    assert len(blocks) == 5
    assert IP in blocks[MAKE] and blocks[MAKE].startswith("make image ")
    assert int(clean_engine.docker("image", "inspect", "--format={{.Size}}", "khala")) < IMAGE_BYTES
    script = "\n".join([IP, *blocks[FIRST : TASK + 1]])
    shown = clean_engine.run("bash", "-euo", "pipefail", "-c", script, timeout_s=600, cwd=tmp_path).stdout
    assert shown.endswith("From Khala: Hello World!\n")
    said = clean_engine.run("docker", "logs", "judicator-1")
    assert "this cluster is open" in said.stderr
    assert "mongod: {" in said.stdout
    published = clean_engine.docker("port", "judicator-2", "2001").splitlines()[0]
    assert not published.endswith(":2001")
    wait_until(lambda: "joins a cluster" in clean_engine.docker("logs", "judicator-2"), what="its joining")
    wait_until(lambda: is_healthy(clean_engine, "judicator-2"), timeout_s=600, what="judicator-2")
    # The second judicator leaves; the first cannot, and ends all the same.
    for name in ("executor-1", "gateway-1", "judicator-2", "judicator-1"):
        stops_in_order(clean_engine, name)
    assert "left the cluster" in (said := clean_engine.docker("logs", "judicator-2")), said


def test_the_closed_cluster(clean_engine: Engine, tmp_path: Path) -> None:
    """The lines with a secret, without Docker's socket: the token printed once is what opens it."""
    script = "\n".join([IP, docker_blocks()[CLOSED]])
    shown = clean_engine.run("bash", "-euo", "pipefail", "-c", script, timeout_s=600, cwd=tmp_path).stdout
    token = first_token(shown)
    assert token
    run = (
        f"{IP}; until curl -fs http://$IP:7000/readyz > /dev/null; do sleep 1; done; "
        "docker run --rm -e KHALA_URL=http://$IP:7000 -e KHALA_TOKEN khala run -- echo hello"
    )
    refused = clean_engine.run("bash", "-c", run, check=False)
    assert refused.returncode != 0 and "asks for a token" in refused.stderr, refused
    ran = clean_engine.run("bash", "-c", run, variables={"KHALA_TOKEN": token})
    assert ran.stdout == "hello\n"
    for name in ("closed-executor", "closed-gateway", "closed-judicator"):
        stops_in_order(clean_engine, name)


def is_healthy(engine: Engine, name: str) -> bool:
    """What the image's health check says."""
    return engine.docker("inspect", "--format={{.State.Health.Status}}", name) == "healthy"


def stops_in_order(engine: Engine, name: str) -> None:
    """`docker stop` ends it before it is killed, and it says that all was well. How long it may take is its
    own setting; here it has more than Docker's grace, for the machine may be busy."""
    environment = json.loads(engine.docker("inspect", "--format={{json .Config.Env}}", name))
    (within_s,) = [text.partition("=")[2] for text in environment if text.startswith("KHALA_STOP_WITHIN=")]
    assert 2 * float(within_s) <= GRACE_S, "and the rest for what is not waited for"
    engine.docker("stop", "-t", "120", name)
    code = engine.docker("inspect", "--format={{.State.ExitCode}}", name)
    assert code == "0", engine.docker("logs", "--tail=20", name)


def test_nothing_is_lost_when_containers_are_killed_paused_cut_off_and_stopped(clean_engine: Engine) -> None:
    """Two of five judicators, the leader too, and all executors but one; then milder faults."""
    engine = clean_engine
    first, more = docker_blocks()[FIRST], docker_blocks()[MORE]
    again = [more.replace("judicator-2", f"judicator-{number}") for number in range(2, 6)]
    executor = first[first.index("docker run --name=executor-1") :]
    executors = [executor.replace("executor-1", f"executor-{number}") for number in (2, 3)]
    engine.run("bash", "-euc", "\n".join([IP, first, *again, *executors]), timeout_s=600)
    wait_until(lambda: len(voters(engine)) == 5, timeout_s=600, what="five judicators")
    with load(engine, URL, "faults") as running:
        engine.docker("kill", leader(engine), not_leader(engine), "executor-1", "executor-2")
        wait_until(lambda: running.finished() >= 10, timeout_s=600, what="tasks that end without them")
        killed = exited(engine)
        assert len(killed) == 4
        engine.docker("start", *killed)  # other ports of the host
        wait_until(lambda: len(voters(engine)) == 5, timeout_s=600, what="the judicators' return")

        paused = leader(engine)
        engine.docker("pause", paused)
        wait_until(lambda: leader(engine) != paused, timeout_s=300, what="another leader")
        engine.docker("unpause", paused)

        engine.docker("network", "disconnect", "bridge", "executor-3")
        before = wait_until(running.finished, timeout_s=300, what="a count")
        wait_until(lambda: running.finished() > before + 10, timeout_s=600, what="tasks that end elsewhere")
        engine.docker("network", "connect", "bridge", "executor-3")

        for name in ("executor-1", not_leader(engine)):
            stops_in_order(engine, name)
        wait_until(lambda: len(judicators(engine)) == 4, timeout_s=300, what="one judicator less")
        engine.docker("restart", "executor-2")


def judicators(engine: Engine, token: str = "") -> list[Mapping[str, Any]]:
    """As the gateway tells of them; none while it cannot."""
    shown = ("-H", f"Authorization: Bearer {token}") if token else ()
    told = engine.run("curl", "-fsm", "30", *shown, f"{URL}/api/v1/judicators", check=False)
    found: list[Mapping[str, Any]] = json.loads(told.stdout)["judicators"] if told.returncode == 0 else []
    return found


def voters(engine: Engine, token: str = "") -> list[Mapping[str, Any]]:
    """The judicators that live, hold the data and count in a majority."""
    states = ("primary", "secondary")
    shown = judicators(engine, token)
    return [one for one in shown if one["live"] and one["voting"] and one["replica_state"] in states]


def leader(engine: Engine) -> str:
    """The name, by which Docker knows it too: the beginning of a container's id. Waits until one leads and
    the gateway can tell."""

    def told() -> str:
        return next((str(one["name"]) for one in judicators(engine) if one["leader"]), "")

    return wait_until(told, timeout_s=300, what="a leader")


def not_leader(engine: Engine) -> str:
    """One that lives, and is not the first judicator, which all others were told of. Waits for it."""
    first = engine.docker("inspect", "--format={{.Config.Hostname}}", "judicator-1")

    def told() -> str:
        others = [one for one in voters(engine) if not one["leader"] and one["name"] != first]
        return str(others[0]["name"]) if others else ""

    return wait_until(told, timeout_s=300, what="one that does not lead")


def exited(engine: Engine) -> list[str]:
    """The containers that do not run."""
    return engine.docker("ps", "--all", "--quiet", "--filter=status=exited").split()


def test_what_isolation_a_container_allows_and_what_gives_more(clean_engine: Engine) -> None:
    """As docs/docker.md says it: nothing given, the least rights, and what strict needs."""
    plain = doctor(clean_engine)
    assert plain["isolation"] == "none, basic"
    assert "--cgroupns=host" in plain["container"]
    least = least_rights()
    assert doctor(clean_engine, *least)["isolation"] == "none, basic"
    assert doctor(clean_engine, "--user=khala", "--cap-drop=ALL")["isolation"] == "none, basic"
    clean_engine.docker("run", "--name=least", "--detach", *least, "khala", "judicator")
    clean_engine.docker(
        "run", "--name=user", "--detach", "--user=khala", "--cap-drop=ALL", "khala", "judicator"
    )
    groups = plain_options(plain["container"])
    boxed = doctor(clean_engine, *least, *groups)
    assert boxed["isolation"] == "none, basic, strict", boxed
    assert "every layer" in boxed["container"]
    narrow = clean_engine.docker(
        "run", "--rm", "--memory=512m", "--cpus=0.5", "--entrypoint=python3", "khala", "-c",
        "from khala.config.host import *; print(memory_bytes() >> 20, cpus_offered(), cpu_count())",
    )  # fmt: skip
    assert narrow == "512 0.5 1"
    for name in ("least", "user"):
        wait_until(lambda: is_healthy(clean_engine, name), timeout_s=600, what=name)  # noqa: B023
        stops_in_order(clean_engine, name)


def doctor(engine: Engine, *options: str) -> Mapping[str, str]:
    """What `khala doctor` finds in a container that was started with these options."""
    told = engine.run("docker", "run", "--rm", *options, "khala", "doctor", "--json", cwd=ROOT)
    return {finding["what"]: finding["found"] for finding in json.loads(told.stdout)}


def plain_options(hint: str) -> list[str]:
    """The options that the doctor names."""
    return [word for word in hint.split() if word.startswith("-")]


def least_rights() -> list[str]:
    """The options of docs/docker.md for an executor with the least rights."""
    page = (ROOT / "docs/docker.md").read_text()
    options = re.findall(r"--cap-[a-z]+=[A-Z_]+", page)
    assert "--cap-drop=ALL" in options
    return list(dict.fromkeys(options))


def test_compose(clean_engine: Engine) -> None:
    """Three judicators, two executors, a gateway; one judicator goes and comes back with its data."""
    file = ("--file", str(ROOT / "docker/compose.yaml"), "--project-name=khala")
    variables = {"KHALA_SECRET": "a secret of this test", "COMPOSE_PROFILES": "three"}

    def run(*words: str) -> str:
        return clean_engine.run("docker-compose", *file, *words, variables=variables, timeout_s=600).stdout

    run("up", "--detach")
    try:
        token = wait_until(lambda: first_token(run("logs", "--no-color")), timeout_s=600, what="the token")
        with load(clean_engine, URL, "compose", token) as running:
            wait_until(lambda: len(voters(clean_engine, token)) == 3, timeout_s=600, what="three judicators")
            run("restart", "judicator-2", "executor-1")
            run("up", "--detach", "--scale=executor-1=2")
            done = wait_until(running.finished, timeout_s=300, what="a count")
            wait_until(lambda: running.finished() > done + 10, timeout_s=600, what="tasks that end")
            wait_until(lambda: len(voters(clean_engine, token)) == 3, timeout_s=600, what="judicator-2 again")
        assert "set aside" not in run("logs", "--no-color", "judicator-2")
    finally:
        run("down", "--volumes")


def test_swarm(clean_engine: Engine) -> None:
    """docker/swarm starts, scales and stops; a new image is rolled out under load."""

    def swarm(*words: str) -> None:
        clean_engine.run(str(ROOT / "docker/swarm"), *words, cwd=ROOT, timeout_s=600)

    clean_engine.docker("swarm", "init", "--advertise-addr=127.0.0.1")
    swarm("start", "2", "2")
    logs = clean_engine.run("docker", "service", "logs", "khala_judicator")
    token = first_token(logs.stdout)
    assert token
    with load(clean_engine, URL, "swarm", token) as running:
        wait_until(lambda: len(voters(clean_engine, token)) == 2, timeout_s=600, what="two judicators")
        swarm("scale", "executor", "3")
        clean_engine.docker("tag", "khala", "khala:next")
        update = ("service", "update", "--no-resolve-image", "--image=khala:next")
        clean_engine.docker(*update, "--detach", "khala_executor")
        clean_engine.docker(*update, "khala_judicator", timeout_s=600)
        wait_until(lambda: len(voters(clean_engine, token)) == 2, timeout_s=600, what="two judicators again")
        done = wait_until(running.finished, timeout_s=300, what="a count")
        wait_until(lambda: running.finished() > done + 10, timeout_s=600, what="tasks that end")
        swarm("scale", "executor", "1")
        swarm("scale", "judicator", "1")
        wait_until(lambda: len(judicators(clean_engine, token)) == 1, timeout_s=600, what="one judicator")
    swarm("stop")


def first_token(log: str) -> str:
    """The administrator's token that a first judicator has printed, or ""."""
    found = re.search(r"token, shown only now: (\S+)", log)
    return found[1] if found else ""
