"""P21: the servers end when the node that started them dies, and the next node takes over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from freezing import freeze
from services.processes import is_alive
from wait import wait_until

from khala.services.definition import ServerDefinition
from khala.services.etcd import EtcdServer
from khala.services.native_process import NativeService

NODE = """
import sys
from pathlib import Path
from khala.services.{kind} import {server}
from khala.services.executables import find_{kind}
from khala.services.native_process import NativeService, Patience
service = NativeService({server}(executable=find_{kind}(), {settings}), patience=Patience(stop_grace_s=2))
service.start()
service.wait_ready(60)
print(service.pid, service.guard_pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def node(definition: ServerDefinition) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a running server, as a judicator does."""
    place = definition.listening()
    settings = f"directory=Path({str(definition.files().path)!r}), listen_address='127.0.0.1', "
    if isinstance(definition, EtcdServer):
        settings += f"name='e1', listen_peer_port={place[0].port}, listen_client_port={place[1].port}"
    else:
        settings += f"port={place[0].port}, secret=b'a secret of a cluster'"
    server = type(definition).__name__
    process = subprocess.Popen(
        [sys.executable, "-c", NODE.format(kind=definition.kind, server=server, settings=settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        yield process
        process.kill()


def servers_of(node: subprocess.Popen[str]) -> tuple[int, int]:
    assert node.stdout
    pid, guard = map(int, node.stdout.readline().split())
    assert is_alive(pid) and is_alive(guard)
    return pid, guard


def test_killed_node_takes_its_server_along(
    node: subprocess.Popen[str], definition: ServerDefinition
) -> None:
    pid, guard = servers_of(node)
    node.kill()
    wait_until(lambda: not is_alive(pid) and not is_alive(guard), what="the server's end")


def test_next_node_waits_for_the_ending_server(
    node: subprocess.Popen[str], definition: ServerDefinition, run: Callable[..., NativeService]
) -> None:
    pid, guard = servers_of(node)
    freeze(pid)  # it will not heed SIGTERM: the guard needs its whole grace
    node.kill()
    service = run(definition)
    service.start()
    assert not is_alive(pid)
    service.wait_ready(60)
    wait_until(lambda: not is_alive(guard))
