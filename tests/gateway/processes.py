"""Gateways in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from services.processes import free_ports
from wait import wait_until

SCRIPT = Path(__file__).parent / "serve_model.py"


@dataclass
class GatewayProcess:
    """A gateway and what it wrote once it has ended."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def peak_bytes(self) -> int:
        """The most memory that it ever had resident (VmHWM, proc(5))."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def finish(self) -> tuple[int, str]:
        """Wait for its end; exit code and all it wrote."""
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out


def start(**settings: Any) -> GatewayProcess:
    """Start a gateway process; it may not answer yet."""
    port = settings.setdefault("port", free_ports(1)[0])
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps({"auth": "none"} | settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return GatewayProcess(port, process)


@contextmanager
def gateway_process(**settings: Any) -> Iterator[GatewayProcess]:
    """A gateway process that answers."""
    gateway = start(**settings)
    try:
        wait_until(lambda: answers(gateway), what="the gateway's first answer")
        yield gateway
    finally:
        children = (
            psutil.Process(gateway.process.pid).children(recursive=True)
            if gateway.process.poll() is None
            else []
        )
        gateway.process.terminate()
        try:
            gateway.process.communicate(timeout=60)
        except (subprocess.TimeoutExpired, ValueError):
            gateway.process.kill()
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive, f"processes left behind: {alive}"


def answers(gateway: GatewayProcess) -> bool:
    assert gateway.process.poll() is None, gateway.finish()
    try:
        return httpx.get(f"{gateway.url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False
