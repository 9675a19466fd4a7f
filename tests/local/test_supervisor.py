"""The supervisor of a local cluster, with stand-ins for the roles: start, restart, stop, death."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

from freezing import freeze
from local.conftest import Start
from services.processes import is_alive
from wait import wait_until

from khala.local.stopping import stop_cluster


def test_a_cluster_comes_up_and_stops_in_order(start: Start) -> None:
    cluster = start(executors=2)
    cluster.wait_ready()
    record = cluster.record()
    assert record.state == "ready"
    assert record.running
    assert sorted(cluster.pids()) == ["executor-1", "executor-2", "gateway-1", "judicator-1"]
    assert cluster.ready["new_token"] is True
    for name in ("cluster.json", "secret"):
        assert stat.S_IMODE((cluster.directory / name).stat().st_mode) == 0o600
    pids = cluster.pids().values()
    said = cluster.finish(signal.SIGTERM)
    assert cluster.process.returncode == 0
    stops = [line for line in said.splitlines() if line.startswith("stopping")]
    assert stops == [f"stopping {name}" for name in ("gateway-1", "executor-1", "executor-2", "judicator-1")]
    assert not [pid for pid in pids if is_alive(pid)]
    assert cluster.record().state == "stopped"
    assert cluster.pids() == {}


def test_ports_token_and_secret_are_kept_for_the_next_time(start: Start) -> None:
    first = start()
    first.wait_ready()
    before, secret = first.record(), (first.directory / "secret").read_text()
    first.finish(signal.SIGINT)
    second = start(first.directory)
    second.wait_ready()
    after = second.record()
    assert {**after.ports, "gateway-1": 0} == {**before.ports, "gateway-1": 0}
    assert (after.token, second.ready["new_token"]) == (before.token, False)
    assert (second.directory / "secret").read_text() == secret
    second.finish(signal.SIGTERM)


def test_a_role_that_dies_is_started_again_and_counted(start: Start) -> None:
    cluster = start()
    cluster.wait_ready()
    first = cluster.pids()["executor-1"]
    os.kill(first, signal.SIGKILL)

    def again() -> bool:
        (entry,) = [e for e in cluster.record().processes if e.name == "executor-1"]
        return entry.restarts == 1 and entry.last_exit == "killed by SIGKILL" and entry.identity is not None

    wait_until(again, what="a restart of executor-1")
    assert cluster.pids()["executor-1"] != first
    cluster.finish(signal.SIGTERM)


def test_a_judicator_that_somebody_stopped_is_started_again_but_not_one_that_left(start: Start) -> None:
    cluster = start()
    cluster.wait_ready()
    first = cluster.pids()["judicator-1"]
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: cluster.pids().get("judicator-1", first) != first, what="a restart of judicator-1")
    known = cluster.directory / "judicator-1" / "judicators.json"
    known.parent.mkdir(exist_ok=True)
    known.write_text('{"etcd_clients": {}, "left": true}')
    second = cluster.pids()["judicator-1"]
    wait_until(
        lambda: _has_sigterm(second, "SigCgt"), what="a judicator that heeds SIGTERM, and does not die of it"
    )
    os.kill(second, signal.SIGTERM)
    os.kill(cluster.pids()["executor-1"], signal.SIGKILL)

    def passed_over() -> bool:
        entries = {entry.name: entry for entry in cluster.record().processes}
        judicator, executor = entries["judicator-1"], entries["executor-1"]
        return judicator.identity is None and executor.restarts == 1 and judicator.restarts == 1

    wait_until(passed_over, what="a restart of executor-1 alone")
    cluster.finish(signal.SIGTERM)


def test_the_roles_end_when_the_supervisor_is_killed(start: Start) -> None:
    cluster = start()
    cluster.wait_ready()
    pids = cluster.pids()
    cluster.finish(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in pids.values()), what="the end of the orphans")
    assert not cluster.record().running
    assert stop_cluster(cluster.directory, lambda _: None) is False
    assert cluster.record().state == "stopped"


def test_what_a_killed_supervisor_left_is_ended_by_down(start: Start, tmp_path: Path) -> None:
    cluster = start()
    cluster.wait_ready()
    freeze(cluster.pids()["executor-1"])
    cluster.finish(signal.SIGKILL)
    said: list[str] = []
    os.kill(cluster.pids()["executor-1"], signal.SIGCONT)
    stop_cluster(cluster.directory, said.append)
    assert not [pid for pid in cluster.pids().values() if is_alive(pid)]
    assert cluster.record().state == "stopped"


def test_a_deaf_role_is_killed_after_its_time(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    cluster = start(stop_s=0.5)
    cluster.wait_ready()
    (directory / "stubborn-executor-1").touch()
    first = cluster.pids()["executor-1"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: cluster.pids().get("executor-1", first) != first, what="a stubborn executor")
    deaf = cluster.pids()["executor-1"]
    wait_until(lambda: _has_sigterm(deaf, "SigIgn"), what="its deafness")
    said = cluster.finish(signal.SIGTERM)
    assert "executor-1 did not stop in time: killing it" in said
    assert not is_alive(deaf)


def test_a_second_ctrl_c_kills_at_once(start: Start, tmp_path: Path) -> None:
    cluster = start(stop_s=60.0)
    cluster.wait_ready()
    (cluster.directory / "stubborn-gateway-1").touch()
    first = cluster.pids()["gateway-1"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: cluster.pids().get("gateway-1", first) != first, what="a stubborn gateway")
    pids = cluster.pids()
    wait_until(lambda: _has_sigterm(pids["gateway-1"], "SigIgn"), what="its deafness")
    cluster.process.send_signal(signal.SIGINT)
    wait_until(lambda: cluster.record().state == "stopping", what="the stop")
    cluster.finish(signal.SIGINT)
    assert not [pid for pid in pids.values() if is_alive(pid)]


def test_a_role_with_wrong_settings_fails_the_start_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    first = start()
    first.wait_ready()
    first.finish(signal.SIGTERM)
    (directory / "broken-gateway-1").write_text("2")
    cluster = start(directory)
    said = cluster.finish()
    assert cluster.process.returncode == 1
    assert "gateway-1 does not start (exit code 2): this stand-in is broken" in said
    assert cluster.pids() == {}


def test_ctrl_c_during_the_start_leaves_nothing(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    first = start()
    first.wait_ready()
    first.finish(signal.SIGTERM)
    (directory / "broken-gateway-1").write_text("1")
    cluster = start(directory)
    wait_until(lambda: any(entry.restarts for entry in cluster.record().processes), what="a retry")
    said = cluster.finish(signal.SIGINT)
    assert "stopped before the cluster was ready" in said
    assert cluster.pids() == {}


def test_a_second_up_is_refused_while_the_first_runs(start: Start) -> None:
    first = start()
    first.wait_ready()
    before = (first.directory / "cluster.json").read_text()
    second = start(first.directory)
    assert "another `khala up` is running" in second.finish()
    assert (first.directory / "cluster.json").read_text() == before
    first.finish(signal.SIGTERM)


def test_down_stops_a_running_cluster(start: Start) -> None:
    cluster = start()
    cluster.wait_ready()
    said: list[str] = []
    # The supervisor is this test's child: as long as nobody waits for it, it stays as a zombie.
    assert stop_cluster(cluster.directory, said.append) is True
    assert said == [f"asked the supervisor (pid {cluster.process.pid}) to stop the cluster"]
    cluster.finish()
    assert cluster.process.returncode == 0


def _has_sigterm(pid: int, which: str) -> bool:
    """Is it among the signals that a process ignores (SigIgn) or handles (SigCgt; proc(5))?"""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith(which))
    return bool(int(mask, 16) & (1 << (signal.SIGTERM - 1)))
