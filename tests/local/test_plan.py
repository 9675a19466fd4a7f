"""What processes a local cluster has, and which ports they get."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from khala.config import ROLES, resolve
from khala.errors import ConfigurationError
from khala.local.plan import ClusterSize, RolePlan, plan_cluster, port_names
from khala.local.ports import HeldPorts, choose_gateway_port, choose_ports, is_free
from khala.local.record import ClusterRecord
from khala.local.role_process import describe_exit
from khala.local.up import UpOrder, cluster_size


def _plans(size: ClusterSize, secret_file: Path, auth: str = "token") -> tuple[RolePlan, ...]:
    ports = {name: 20_000 + n for n, name in enumerate((*port_names(size), "gateway-1"))}
    return plan_cluster(
        size,
        ports,
        data_dir=Path("/data"),
        secret_file=secret_file,
        gateway_host="127.0.0.1",
        first_token_digest="0" * 64,
        total_memory_bytes=8 << 30,
        auth=auth,
    )


@pytest.mark.parametrize("auth", ["token", "none"])
def test_every_role_is_told_whether_tokens_are_asked_for(tmp_path: Path, auth: str) -> None:
    for plan in _plans(ClusterSize(executors=2), tmp_path / "secret", auth):
        assert f"--auth={auth}" in plan.flags


def test_every_flag_of_the_plan_is_understood_by_its_role(tmp_path: Path) -> None:
    secret_file = tmp_path / "secret"
    secret_file.write_text("s")
    secret_file.chmod(0o600)
    for plan in _plans(ClusterSize(executors=2, gateways=2, slots=3), secret_file):
        options = {}
        for flag in plan.flags:
            name, _, value = flag.removeprefix("--").partition("=")
            options[name.replace("-", "_")] = (value or "true",)
        resolved = resolve(plan.role, options, {})
        assert isinstance(resolved.config, ROLES[plan.role])
        assert resolved.config.main_name == plan.name
        assert resolved.config.data_dir == Path("/data") / plan.name
        assert (resolved.config.secret, resolved.config.auth) == ("s", "token")
        assert resolved.warnings == ()


def test_names_and_start_order() -> None:
    names = [plan.name for plan in _plans(ClusterSize(executors=2, gateways=2), Path("/s"))]
    assert names == ["judicator-1", "executor-1", "executor-2", "gateway-1", "gateway-2"]


def test_executors_share_the_memory() -> None:
    plans = _plans(ClusterSize(executors=4), Path("/s"))
    assert all(f"--memory={2 << 30}" in plan.flags for plan in plans if plan.role == "executor")


@pytest.mark.parametrize(("executors", "slots"), [(0, 1), (100, 1), (1, 0)])
def test_an_impossible_size_is_refused(executors: int, slots: int) -> None:
    with pytest.raises(ConfigurationError, match="give a number from 1 to 99"):
        ClusterSize(executors=executors, slots=slots)


def test_a_cluster_never_shrinks_below_its_majority() -> None:
    before = ClusterRecord(judicators=3)
    with pytest.raises(ConfigurationError, match="--judicators 3"):
        cluster_size(UpOrder(data_dir=Path("/data"), judicators=1), before)


def test_what_was_asked_for_once_holds_the_next_time() -> None:
    before = ClusterRecord(judicators=3, executors=4, gateways=2, slots=5)
    kept = cluster_size(UpOrder(data_dir=Path("/data")), before)
    assert kept == ClusterSize(judicators=3, executors=4, gateways=2, slots=5)
    changed = cluster_size(UpOrder(data_dir=Path("/data"), executors=1, slots=2), before)
    assert changed == ClusterSize(judicators=3, executors=1, gateways=2, slots=2)
    fresh = cluster_size(UpOrder(data_dir=Path("/data")), ClusterRecord())
    assert (fresh.executors, fresh.gateways, fresh.slots) == (1, 1, len(os.sched_getaffinity(0)))


@pytest.fixture
def held() -> Iterator[HeldPorts]:
    made = HeldPorts()
    yield made
    made.release()


def test_ports_are_free_distinct_and_below_the_kernels_range(held: HeldPorts) -> None:
    ports = choose_ports(["a", "b", "c"], {}, random.Random(1), held)
    assert len(set(ports.values())) == 3
    assert all(is_free(port) and 20_000 <= port <= 32_000 for port in ports.values())
    assert choose_ports(["a", "b", "c"], ports, random.Random(2), held) == ports


def test_two_clusters_that_start_at_once_choose_different_ports(held: HeldPorts) -> None:
    """Also while nobody listens there yet, or any more; a server of the cluster may listen all the same."""
    names, other = ["a", "b", "c"], HeldPorts()
    ports = choose_ports(names, {}, random.Random(1), held)
    theirs = choose_ports(names, {}, random.Random(1), other)
    other.release()
    assert not set(ports.values()) & set(theirs.values())
    socket.create_server(("127.0.0.1", ports["a"])).close()
    assert choose_ports(names, ports, random.Random(1), HeldPorts()) == ports, "its own again"
    held.release()
    assert choose_ports(["a"], {}, random.Random(1), held)["a"] in ports.values(), "and free in the end"


def test_a_taken_port_is_named(held: HeldPorts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {taken}, which judicator-1.main"):
            choose_ports(["judicator-1.main"], {"judicator-1.main": taken}, random.Random(1), held)
        with pytest.raises(ConfigurationError, match=f"port {taken} is taken.*--port 0"):
            choose_gateway_port(taken, "127.0.0.1", (), random.Random(1), held)
        with pytest.raises(ConfigurationError, match=r"--host: 203\.0\.113\.9 is no IPv4 address"):
            choose_gateway_port(taken, "203.0.113.9", (), random.Random(1), held)
        assert choose_gateway_port(0, "127.0.0.1", (), random.Random(1), held) != taken


@pytest.mark.parametrize(("code", "words"), [(None, ""), (0, "exit code 0"), (-9, "killed by SIGKILL")])
def test_an_exit_in_words(code: int | None, words: str) -> None:
    assert describe_exit(code) == words
