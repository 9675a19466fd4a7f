"""From one judicator to five and back to one, while clients submit without pause."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster.load import Load, assert_all_ended_once
from cluster.roles import TOKEN, Roles, begun, standing, started
from faults.conftest import PATIENCE_S
from wait import wait_until

from khala.client import Client

pytestmark = [pytest.mark.long, pytest.mark.timeout(2 * PATIENCE_S)]
STEP_S = 120


def test_one_grows_to_five_and_shrinks_to_one_under_load(tmp_path: Path) -> None:
    """1, 3, 5, 3, 1: at each step tasks are acknowledged and run, and every one of them ends once."""
    with started(tmp_path) as roles:
        with begun(roles) as client, Load(roles.gateway_url, TOKEN, "scaled-") as load:
            for names, survives in ((("j2", "j3"), 1), (("j4", "j5"), 2)):
                join(roles, *names)
                wait_survives(client, survives)
                load.goes_on()
            # The first ones go: leader, primary, and the address that everybody was given.
            for names, survives in ((("j1", "j2"), 1), (("j3", "j4"), 0)):
                leave(roles, client, *names)
                wait_survives(client, survives)
                load.goes_on()
            assert standing(client) == {"j5": "primary"}
        with Client(roles.gateway_url, TOKEN, patience_s=120) as client:
            assert_all_ended_once(client, load.ids, "scaled-")


def join(roles: Roles, *names: str) -> None:
    """Start them at the same time."""
    for name in names:
        roles.judicator(name, f"--etcd-cluster-join-member-client={roles.etcd_client('j1')}")


def leave(roles: Roles, client: Client, *names: str) -> None:
    """Stop them one after the other, each when the one before is out."""
    for name in names:
        assert roles.stop(name, within_s=STEP_S) == 0
        assert "left the cluster" in roles.log(name)
        wait_until(lambda name=name: name not in standing(client), timeout_s=STEP_S, what=f"{name} to be out")


def wait_survives(client: Client, losses: int) -> None:
    """Until the cluster survives as many losses as it can."""
    wait_until(
        lambda: client.cluster()["survives"] == losses, timeout_s=STEP_S, what=f"{losses} losses survived"
    )
