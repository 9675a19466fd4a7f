"""Starting, stopping, and several worker processes."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable

import httpx
import psutil
import pytest
from gateway.cluster_model import ClusterModel
from gateway.conftest import Gateway
from gateway.processes import GatewayProcess, answers, gateway_process, start
from services.processes import free_ports
from wait import wait_until

from khala.errors import ConfigurationError
from khala.gateway.server import GatewayServer
from khala.gateway.serving import listen
from khala.gateway.settings import GatewaySettings

TASK = {"execute": {"command": "true"}}


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, wrote = start(port=other.getsockname()[1]).finish()
    assert code != 0
    (line,) = wrote.splitlines()
    assert line.startswith("ConfigurationError: port ") and "choose another port" in line


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_refused_before_workers_start(workers: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, wrote = start(port=other.getsockname()[1], workers=workers).finish()
    assert code != 0 and len(wrote.splitlines()) == 1


def test_an_address_of_another_machine_is_refused() -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(ConfigurationError, match="cannot listen"):
            listen(host, 0)


def test_ipv6(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(host="::1")
    assert httpx.get(f"http://[::1]:{gateway.port}/api/v1/stats", timeout=60).status_code == 200


def test_what_the_factory_raises_is_raised_and_the_port_is_free_again() -> None:
    def factory() -> ClusterModel:
        raise ConfigurationError("no judicator at the given address")

    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    with pytest.raises(ConfigurationError, match="no judicator"):
        GatewayServer(GatewaySettings(port=port, auth="none"), factory, sock).run()
    listen("127.0.0.1", port).close()


def test_a_process_is_quiet_and_ends_on_sigterm() -> None:
    with gateway_process() as gateway:
        assert httpx.post(f"{gateway.url}/api/v1/tasks", json=TASK, timeout=60).status_code == 201
        assert httpx.get(f"{gateway.url}/nowhere", timeout=60).status_code == 404
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.finish() == (0, "")


def test_the_access_log_has_a_line_for_each_answer_and_no_token() -> None:
    with gateway_process(access_log=True) as gateway:
        httpx.get(f"{gateway.url}/api/v1/stats?token=secret", timeout=60)
        httpx.get(f"{gateway.url}/no%0Awhere", timeout=60)
        gateway.process.send_signal(signal.SIGTERM)
        code, wrote = gateway.finish()
    assert code == 0
    assert '127.0.0.1 "GET /api/v1/stats" 200' in wrote
    assert wrote.splitlines()[-1].split('"')[2].startswith(" 404 ")
    assert "secret" not in wrote


def test_a_running_request_is_finished_before_the_end(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(stop_grace_s=60.0)
    id = gateway.submit()
    answers: list[httpx.Response] = []

    def wait() -> None:
        answers.append(httpx.get(f"{gateway.url}/api/v1/tasks/{id}?wait=60", timeout=60))

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(
        lambda: any(getattr(command, "wait_s", 0) for command in gateway.cluster.seen), what="the wait"
    )
    with running_stop(gateway):
        gateway.cluster.succeed(id)
        waiting.join(60)
    assert answers[0].json()["state"] == "succeeded"


class running_stop:  # noqa: N801 (reads as a statement)
    """Tells the gateway to stop, and sees that it takes no new connections from then on."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def __enter__(self) -> None:
        self._gateway.stop()
        wait_until(self._refuses, what="the port to close")

    def __exit__(self, *error: object) -> None:
        """The fixture sees that it ends."""

    def _refuses(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._gateway.port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it was in the listener's queue when that closed
            return False
        return False


def test_a_request_that_does_not_end_is_cut_after_the_grace(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(stop_grace_s=0.3)
    sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    sock.sendall(b"POST /api/v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
    wait_until(lambda: gateway.http.get("/healthz").status_code == 200, what="an answer")
    gateway.stop()
    wait_until(lambda: gateway.stage.closed, what="the end")
    sock.close()


def test_idle_connections_do_not_delay_the_end(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(stop_grace_s=600.0)
    idle = [socket.create_connection(("127.0.0.1", gateway.port), timeout=60) for _ in range(50)]
    assert gateway.http.get("/healthz").status_code == 200
    gateway.stop()
    wait_until(lambda: gateway.stage.closed, what="the end, long before the grace is over")
    for sock in idle:
        sock.close()


def test_several_workers_serve_one_port_and_all_end() -> None:
    with gateway_process(workers=2, port=free_ports(1)[0]) as gateway:
        for _ in range(10):
            assert httpx.get(f"{gateway.url}/api/v1/stats", timeout=60).status_code == 200
        children = psutil.Process(gateway.process.pid).children(recursive=True)
        assert len(children) >= 2  # and multiprocessing's resource tracker
        gateway.process.send_signal(signal.SIGTERM)
        code, wrote = gateway.finish()
        assert (code, wrote) == (0, "")
        assert not psutil.wait_procs(children, timeout=60)[1]


def workers_of(gateway: GatewayProcess) -> set[int]:
    """The worker processes of a gateway."""
    children = psutil.Process(gateway.process.pid).children()
    found = set()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile, or is not reaped yet
            if any("spawn_main" in word for word in child.cmdline()):
                found.add(child.pid)
    return found


def test_a_killed_worker_is_replaced_while_the_others_serve() -> None:
    with gateway_process(workers=2) as gateway:
        first = wait_until(lambda: len(workers_of(gateway)) == 2 and workers_of(gateway), what="two workers")
        victim = first.pop()
        psutil.Process(victim).kill()
        wait_until(
            lambda: len(workers_of(gateway)) == 2 and victim not in workers_of(gateway), what="a new worker"
        )
        assert httpx.get(f"{gateway.url}/readyz", timeout=60).status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        code, wrote = gateway.finish()
    assert code == 0
    assert "a worker ended" in wrote and len(wrote.splitlines()) == 1


def test_workers_end_with_the_process_that_started_them() -> None:
    gateway = start(workers=2)
    wait_until(lambda: answers(gateway), what="the gateway's first answer")
    children = psutil.Process(gateway.process.pid).children(recursive=True)
    gateway.process.kill()
    gateway.finish()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_two_signals_end_only_the_gateway() -> None:
    with gateway_process(workers=2) as gateway:
        for _ in range(3):
            gateway.process.send_signal(signal.SIGTERM)
        assert gateway.finish() == (0, "")


def test_what_keeps_workers_from_starting_is_raised_here() -> None:
    code, wrote = start(workers=2, allowed_hosts=["broken-factory"]).finish()
    assert code != 0
    assert "ConfigurationError: no cluster here" in wrote
    assert "Traceback" not in wrote
