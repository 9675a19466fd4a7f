"""`khala backup` of a running cluster, and `khala restore` into a new one."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cluster.conftest import LocalCluster, make_cluster, run_khala
from wait import wait_until

from khala.client import Client

CONTENT = b"content" * 300_000


@pytest.fixture
def other(tmp_path: Path) -> Iterator[LocalCluster]:
    """A second cluster, not started yet."""
    yield from make_cluster(tmp_path / "other")


def test_a_restored_cluster_has_everything_and_goes_on(
    cluster: LocalCluster, other: LocalCluster, gate: Path, tmp_path: Path
) -> None:
    ready = cluster.up("--slots", "1")
    done = cluster.told("run", "--json", "--", "seq", "100000")
    token = ready["token"]
    file = upload(ready["gateway"], token)
    with Client(ready["gateway"], token, patience_s=120) as client:
        task = {"execute": {"command": "echo once"}}
        once = client.submit(task, key="the key")
        # A restored task runs again, which it may as long as it has attempts left.
        waits = f"until test -e {gate}; do sleep 0.2; done"
        running = client.submit({"execute": {"command": waits}, "retry": {"max_attempts": 3}})
        pending = client.submit({"execute": {"command": "echo later"}})
        wait_until(lambda: client.get(running).state == "running", what="it runs")
        backup = tmp_path / "a.backup"
        made = cluster.told("backup", str(backup), "--json")
        assert stat.S_IMODE(backup.stat().st_mode) == 0o600 and made["bytes"] == backup.stat().st_size
        assert_reached_through_etcd(cluster, tmp_path)
    assert cluster.khala("down").returncode == 0

    verified = run_khala(["restore", "--verify", "--json", str(backup)])
    contents = json.loads(verified.stdout)
    assert contents["documents"]["tasks"] == 4 and contents["cluster_id"] == made["cluster_id"]

    restored = other.told("restore", str(backup), "--json")
    assert restored["generation"] > contents["generation"]
    gate.touch()
    # Its executor worked for the old cluster and has all that it had.
    shutil.copytree(cluster.directory / "executor-1", other.directory / "executor-1")
    again = other.up()
    assert again["token"] == restored["token"] != token
    with Client(again["gateway"], token, patience_s=120) as client:  # the old token still counts
        ids = (running, pending, once)
        wait_until(
            lambda: [client.get(each).state for each in ids] == ["succeeded"] * 3,
            timeout_s=240,
            what="the end of what was under way",
        )
        assert client.get(running).raw["attempt"] >= 2
        assert client.submit(task, key="the key") == once
    assert other.told("show", done["id"], "--json") == done
    whole = "".join(f"{number}\n" for number in range(1, 100_001))
    assert other.khala("logs", done["id"]).stdout == whole
    assert requests.get(f"{again['gateway']}{file}", headers=bearer(token), timeout=60).content == CONTENT


def assert_reached_through_etcd(cluster: LocalCluster, place: Path) -> None:
    """As from another machine: with the cluster's secret only."""
    etcd = f"http://127.0.0.1:{cluster.record().ports['judicator-1.etcd_client']}"
    words = ["backup", str(place / "remote.backup"), f"--etcd-cluster-join-member-client={etcd}"]
    done = run_khala([*words, f"--secret-file={cluster.directory / 'secret'}"])
    assert done.returncode == 0, done.stderr
    assert (place / "remote.backup").exists()
    again = run_khala([*words, f"--secret-file={cluster.directory / 'secret'}"])
    assert again.returncode == 2 and "--overwrite" in again.stderr
    for given in ({}, {"KHALA_SECRET": "another"}):
        refused = run_khala([*words, "--overwrite"], **given)
        assert refused.returncode == 2 and "secret" in refused.stderr


def upload(gateway: str, token: str) -> str:
    """Store a file; where it is."""
    stored = requests.post(f"{gateway}/api/v1/files", data=CONTENT, headers=bearer(token), timeout=60)
    assert stored.status_code == 201, stored.text
    return stored.headers["Location"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
