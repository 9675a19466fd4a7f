"""`khala up`, `status`, `down` with real roles: etcd, mongod, judicator, executor, gateway."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from pathlib import Path

import pytest
from cluster.conftest import LocalCluster, run_khala
from freezing import freeze
from wait import wait_until

from khala.client import Client


def test_up_status_down_and_up_again_larger(cluster: LocalCluster) -> None:
    """Tasks, token, executors and slots stay; judicators may only become more, and an odd number."""
    ready = cluster.up("--executors", "2", "--slots", "3")
    assert set(ready) == {"gateway", "token", "data_dir", "pids"}
    assert set(ready["pids"]) == {"judicator-1", "executor-1", "executor-2", "gateway-1", "supervisor"}
    assert stat.S_IMODE((cluster.directory / "cluster.json").stat().st_mode) == 0o600

    shown = cluster.told("status", "--json")
    assert shown["running"]
    assert shown["state"] == "ready"
    wait_until(lambda: slots(cluster) == [3, 3], what="both executors")
    assert "token" not in shown
    assert cluster.khala("status", "--show-token").stdout.strip() == ready["token"]
    assert "executor-1" in cluster.khala("status").stdout
    done = cluster.told("run", "--json", "--name", "kept", "--", "echo", "hi")

    ended = cluster.khala("down")
    assert ended.returncode == 0
    wait_until(lambda: not cluster.processes(), what="the end of every process")
    assert cluster.khala("status").returncode == 3
    assert cluster.khala("run", "--", "true").returncode == 125
    refused = cluster.khala("up", "--detach", "--judicators", "2")
    assert (refused.returncode, "give an odd number" in refused.stderr) == (2, True)

    again = cluster.up("--judicators", "3")
    assert again["token"] == ready["token"]
    assert cluster.told("show", done["id"], "--json") == done
    assert cluster.khala("run", "--", "echo", "again").stdout == "again\n"
    wait_until(lambda: slots(cluster) == [3, 3], what="both executors")
    states = ["primary", "secondary", "secondary"]
    wait_until(lambda: replica_states(cluster) == states, timeout_s=300, what="three with all the data")
    assert cluster.khala("down").returncode == 0
    refused = cluster.khala("up", "--detach", "--judicators", "1")
    assert (refused.returncode, "--judicators 3 or more" in refused.stderr) == (2, True)


def slots(cluster: LocalCluster) -> list[int]:
    """Those of each executor."""
    shown = cluster.told("executors", "--json")
    return [one["slots"] for one in shown["executors"]]


def replica_states(cluster: LocalCluster) -> list[str]:
    shown = cluster.told("judicators", "--json")["judicators"]
    return sorted(one["replica_state"] for one in shown)


def test_ctrl_c_ends_the_foreground_cluster(cluster: LocalCluster) -> None:
    process = cluster.spawn("up", "--port", "0")
    wait_until(lambda: _state(cluster) == "ready", timeout_s=300, what="the cluster")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    stops = [line for line in said.splitlines() if line.startswith("stopping")]
    assert stops == ["stopping gateway-1", "stopping executor-1", "stopping judicator-1"]
    assert "administrator's token" in said
    wait_until(lambda: not cluster.processes(), what="the end of every process")


def test_ctrl_c_during_the_start_leaves_nothing(cluster: LocalCluster) -> None:
    process = cluster.spawn("up", "--port", "0", "--detach")
    wait_until(lambda: _state(cluster) == "starting" and cluster.record().processes, what="the start")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130, said
    wait_until(lambda: not cluster.processes(), what="the end of every process")


def test_nothing_outlives_a_killed_supervisor(cluster: LocalCluster) -> None:
    """By itself, and sooner by `khala down`."""
    ready = cluster.up()
    os.kill(ready["pids"]["supervisor"], signal.SIGKILL)
    wait_until(lambda: not cluster.processes(), what="the end of every process")
    again = cluster.up()
    assert again["token"] == ready["token"]
    assert cluster.khala("run", "--", "echo", "hi").stdout == "hi\n"
    os.kill(again["pids"]["supervisor"], signal.SIGKILL)
    ended = cluster.khala("down")
    assert ended.returncode == 0, ended.stderr
    wait_until(lambda: not cluster.processes(), what="the end of every process")


@pytest.mark.parametrize("role", ["executor-1", "gateway-1", "judicator-1"])
def test_a_killed_role_is_started_again(running: LocalCluster, role: str) -> None:
    (before,) = [entry for entry in running.record().processes if entry.name == role]
    assert before.identity is not None
    os.kill(before.identity.pid, signal.SIGKILL)

    def restarted() -> bool:
        (entry,) = [entry for entry in running.record().processes if entry.name == role]
        return entry.restarts > before.restarts and entry.last_exit == "killed by SIGKILL"

    wait_until(restarted, timeout_s=300, what=f"the restart of {role}")
    with Client(running.ready["gateway"], running.ready["token"], patience_s=120) as client:
        task = client.run({"execute": {"command": "echo hi"}}, timeout_s=240)
    assert task.state == "succeeded"


def test_a_second_up_on_the_same_directory_is_refused(running: LocalCluster) -> None:
    before = running.record()
    ended = running.khala("up", "--detach", "--port", "0")
    assert ended.returncode == 2
    assert "another `khala up` is running" in ended.stderr
    after = running.record()
    assert (after.ports, after.started_at, after.state) == (before.ports, before.started_at, "ready")


def test_status_says_in_time_what_it_knows_of_a_judicator_that_hangs(running: LocalCluster) -> None:
    (entry,) = [entry for entry in running.record().processes if entry.name == "judicator-1"]
    assert entry.identity is not None
    freeze(entry.identity.pid)

    def in_time() -> bool:
        began = time.monotonic()
        ended = running.khala("status")
        took_s = time.monotonic() - began
        assert ended.returncode == 0
        assert "judicator-1" in ended.stdout
        assert "the cluster does not answer all: no answer about" in ended.stdout
        # 1.5 s of patience, and the start of a command; without it a gateway's own 10 s pass each time.
        assert took_s < 9, took_s
        return True

    try:
        wait_until(
            in_time, timeout_s=300, what="an answer in time, be the machine as busy as it is now and then"
        )
    finally:
        os.kill(entry.identity.pid, signal.SIGCONT)


def test_a_taken_port_is_one_clear_error(cluster: LocalCluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = cluster.khala("up", "--detach", "--port", str(port))
    assert ended.returncode == 2
    assert ended.stderr == (
        f"khala: port {port} is taken by another program: "
        "give --port 0 for any free port, or --port N for another\n"
    )
    assert not cluster.processes()


def test_data_of_another_version_are_left_alone(cluster: LocalCluster) -> None:
    cluster.directory.mkdir()
    (cluster.directory / "VERSION").write_text("99\n")
    ended = cluster.khala("up", "--detach")
    assert ended.returncode == 2
    assert "has data of format '99'" in ended.stderr
    assert [path.name for path in cluster.directory.iterdir()] == ["VERSION"]


def test_demo_shows_the_task_and_leaves_nothing() -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is missing: apt-get install g++")
    # Short on purpose: unix sockets in the demo's directory have at most 107 bytes for their names.
    with tempfile.TemporaryDirectory(prefix="khala-t-") as place:
        cluster = LocalCluster(Path(place))
        ended = run_khala(["demo"], timeout_s=400, TMPDIR=place)
        assert ended.returncode == 0, ended.stderr
        assert "execute output | From Khala: Hello World!" in ended.stdout
        assert list(Path(place).iterdir()) == []
        wait_until(lambda: not cluster.processes(), what="the end of every process")


def _state(cluster: LocalCluster) -> str:
    if not (cluster.directory / "cluster.json").exists():
        return ""
    return cluster.record().state
