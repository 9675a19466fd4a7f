"""A control plane that grows and shrinks under load, made of single roles as an operator starts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.load import Load, assert_all_ended_once
from cluster.roles import TOKEN, Roles, begun, standing, started
from wait import wait_until

from khala.cli.exits import Exit
from khala.client import Client


@pytest.fixture
def roles(tmp_path: Path) -> Iterator[Roles]:
    with started(tmp_path) as roles:
        yield roles


def test_one_grows_to_three_and_shrinks_to_one_under_load(roles: Roles) -> None:
    with begun(roles) as client, Load(roles.gateway_url, TOKEN, "scaled-") as load:
        port = roles.ports("j1")[1]
        roles.judicator("j2", "--etcd-cluster-service=localhost", f"--etcd-cluster-service-port={port}")
        roles.judicator("j3", f"--etcd-cluster-join-member-client={roles.etcd_client('j1')}")
        wait_until(lambda: client.cluster()["survives"] == 1, timeout_s=300, what="three with all the data")
        assert set(standing(client)) == {"j1", "j2", "j3"}
        load.goes_on()
        assert_nobody_joins_with_another_secret(roles)
        wait_until(
            lambda: client.cluster()["survives"] == 1, timeout_s=300, what="all three before one leaves"
        )

        # The first one leaves too: leader, primary and the address that everybody was given.
        assert roles.stop("j1") == 0
        assert "left the cluster" in roles.log("j1")
        wait_until(lambda: set(standing(client)) == {"j2", "j3"}, timeout_s=300, what="two")
        load.goes_on()
        wait_until(lambda: _all_are_there(client, 2), timeout_s=300, what="both before one leaves")
        assert roles.stop("j2") == 0
        wait_until(lambda: standing(client) == {"j3": "primary"}, timeout_s=300, what="one")
        load.goes_on()
    with Client(roles.gateway_url, TOKEN, patience_s=120) as client:
        assert_all_ended_once(client, load.ids, "scaled-")


def _all_are_there(client: Client, members: int) -> bool:
    """Are so many judicators registered, and each one's data server a member that answers?"""
    states = standing(client).values()
    return len(states) == members and set(states) <= {"primary", "secondary"}


def assert_nobody_joins_with_another_secret(roles: Roles) -> None:
    other = roles.folder / "other"
    other.write_text("another secret")
    other.chmod(0o600)
    join = f"--etcd-cluster-join-member-client={roles.etcd_client('j1')}"
    roles.start("judicator", "stranger", join, secret=other)
    assert roles.processes.pop("stranger").wait(120) == Exit.USAGE
    assert "the cluster secret does not fit" in roles.log("stranger")


def test_one_that_left_comes_back_afresh_and_one_that_was_killed_with_its_data(roles: Roles) -> None:
    with begun(roles) as client:
        join = f"--etcd-cluster-join-member-client={roles.etcd_client('j1')}"
        for name in ("j2", "j3"):
            roles.judicator(name, join)
        wait_until(lambda: client.cluster()["survives"] == 1, timeout_s=300, what="three with all the data")
        roles.processes.pop("j2").kill()
        assert client.run({"execute": {"command": "echo still"}}, timeout_s=300).state == "succeeded"
        wait_until(lambda: client.cluster()["survives"] == 0, timeout_s=300, what="the end of its lease")
        roles.judicator("j2", join)
        wait_until(lambda: client.cluster()["survives"] == 1, timeout_s=300, what="the killed one's return")
        assert not list((roles.folder / "j2").glob("*.aside-*"))

        assert roles.stop("j3") == 0
        wait_until(lambda: set(standing(client)) == {"j1", "j2"}, timeout_s=300, what="two")
        roles.judicator("j3", join)
        wait_until(lambda: client.cluster()["survives"] == 1, timeout_s=300, what="the third one afresh")
        aside = sorted(path.name.partition(".")[0] for path in (roles.folder / "j3").glob("*.aside-*"))
        assert aside == ["etcd", "mongodb"]
