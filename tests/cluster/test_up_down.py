"""`khala up`, `status`, `down` with real roles: etcd, mongod, judicator, executor, gateway."""

from __future__ import annotations

import json
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


def test_up_detached_then_status_then_down(cluster: LocalCluster) -> None:
    ready = cluster.up()
    assert set(ready) == {"gateway", "token", "data_dir", "pids"}
    assert set(ready["pids"]) == {"judicator-1", "executor-1", "gateway-1", "supervisor"}
    assert stat.S_IMODE((cluster.directory / "cluster.json").stat().st_mode) == 0o600

    shown = json.loads(cluster.khala("status", "--json").stdout)
    assert shown["running"]
    assert shown["state"] == "ready"
    assert len(shown["cluster"]["executors"]) == 1
    assert "token" not in shown
    assert cluster.khala("status", "--show-token").stdout.strip() == ready["token"]
    assert "executor-1" in cluster.khala("status").stdout

    ended = cluster.khala("down")
    assert ended.returncode == 0
    wait_until(lambda: not cluster.processes(), what="the end of every process")
    assert cluster.khala("status").returncode == 3
    assert cluster.khala("run", "--", "true").returncode == 125


def test_tasks_token_and_size_survive_down_and_up(cluster: LocalCluster) -> None:
    first = cluster.up("--executors", "2", "--slots", "3")
    done = json.loads(cluster.khala("run", "--json", "--name", "kept", "--", "echo", "hi").stdout)
    assert cluster.khala("down").returncode == 0
    second = cluster.up()
    assert second["token"] == first["token"]
    assert json.loads(cluster.khala("show", done["id"], "--json").stdout) == done
    assert cluster.khala("run", "--", "echo", "again").stdout == "again\n"
    found = json.loads(cluster.khala("executors", "--json").stdout)["executors"]
    assert [one["slots"] for one in found] == [3, 3]


def test_status_says_in_time_what_it_knows_of_a_judicator_that_hangs(cluster: LocalCluster) -> None:
    ready = cluster.up()
    freeze(ready["pids"]["judicator-1"])
    began = time.monotonic()
    ended = cluster.khala("status")
    took_s = time.monotonic() - began
    os.kill(ready["pids"]["judicator-1"], signal.SIGCONT)
    assert ended.returncode == 0
    assert "judicator-1" in ended.stdout
    assert "the cluster does not answer all: no answer about" in ended.stdout
    # 1.5 s of patience, and the start of a command on a busy machine; without it a gateway's own 10 s pass.
    assert took_s < 9


@pytest.mark.timeout(200)
def test_up_with_more_judicators_grows_and_with_fewer_or_two_is_refused(cluster: LocalCluster) -> None:
    cluster.up()
    done = json.loads(cluster.khala("run", "--json", "--name", "kept", "--", "echo", "hi").stdout)
    assert cluster.khala("down").returncode == 0
    refused = cluster.khala("up", "--detach", "--judicators", "2")
    assert (refused.returncode, "give an odd number" in refused.stderr) == (2, True)
    cluster.up("--judicators", "3")
    shown = json.loads(cluster.khala("judicators", "--json").stdout)["judicators"]
    assert sorted(one["replica_state"] for one in shown) == ["primary", "secondary", "secondary"]
    assert json.loads(cluster.khala("show", done["id"], "--json").stdout) == done
    assert cluster.khala("down").returncode == 0
    refused = cluster.khala("up", "--detach", "--judicators", "1")
    assert (refused.returncode, "--judicators 3 or more" in refused.stderr) == (2, True)


def test_ctrl_c_ends_the_foreground_cluster(cluster: LocalCluster) -> None:
    process = cluster.spawn("up", "--port", "0")
    wait_until(lambda: _state(cluster) == "ready", timeout_s=90, what="the cluster")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    stops = [line for line in said.splitlines() if line.startswith("stopping")]
    assert stops == ["stopping gateway-1", "stopping executor-1", "stopping judicator-1"]
    assert "administrator's token" in said
    wait_until(lambda: not cluster.processes(), what="the end of every process")


def test_ctrl_c_during_the_start_leaves_nothing(cluster: LocalCluster) -> None:
    process = cluster.spawn("up", "--port", "0", "--detach")
    wait_until(lambda: _state(cluster) == "starting" and cluster.record().processes, what="the start")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    wait_until(lambda: not cluster.processes(), what="the end of every process")


def test_nothing_outlives_a_killed_supervisor(cluster: LocalCluster) -> None:
    ready = cluster.up()
    os.kill(ready["pids"]["supervisor"], signal.SIGKILL)
    wait_until(lambda: not cluster.processes(), what="the end of every process")
    again = cluster.up()
    assert again["token"] == ready["token"]
    assert cluster.khala("run", "--", "echo", "hi").stdout == "hi\n"


def test_down_ends_what_a_killed_supervisor_left(cluster: LocalCluster) -> None:
    ready = cluster.up()
    os.kill(ready["pids"]["supervisor"], signal.SIGKILL)
    ended = cluster.khala("down", timeout_s=90)
    assert ended.returncode == 0, ended.stderr
    wait_until(lambda: not cluster.processes(), what="the end of every process")


@pytest.mark.parametrize("role", ["executor-1", "gateway-1", "judicator-1"])
def test_a_killed_role_is_started_again(cluster: LocalCluster, role: str) -> None:
    ready = cluster.up()
    os.kill(ready["pids"][role], signal.SIGKILL)

    def restarted() -> bool:
        (entry,) = [entry for entry in cluster.record().processes if entry.name == role]
        return entry.restarts >= 1 and entry.last_exit == "killed by SIGKILL"

    wait_until(restarted, what=f"the restart of {role}")
    with Client(ready["gateway"], ready["token"], patience_s=60) as client:
        task = client.run({"execute": {"command": "echo hi"}}, timeout_s=120)
    assert task.state == "succeeded"


def test_a_second_up_on_the_same_directory_is_refused(cluster: LocalCluster) -> None:
    cluster.up()
    before = (cluster.directory / "cluster.json").read_text()
    ended = cluster.khala("up", "--detach", "--port", "0")
    assert ended.returncode == 2
    assert "another `khala up` is running" in ended.stderr
    assert (cluster.directory / "cluster.json").read_text() == before


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
        ended = run_khala(["demo"], timeout_s=150, TMPDIR=place)
        assert ended.returncode == 0, ended.stderr
        assert "execute output | From Khala: Hello World!" in ended.stdout
        assert list(Path(place).iterdir()) == []
        wait_until(lambda: not cluster.processes(), what="the end of every process")


def _state(cluster: LocalCluster) -> str:
    if not (cluster.directory / "cluster.json").exists():
        return ""
    return cluster.record().state
