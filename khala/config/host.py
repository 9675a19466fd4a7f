"""What a setting means on this host: `DOCKER`, `ENV`, an interface's name in capitals, "all of it".

The only place that talks to Docker. Everything is asked when a setting needs it and not before, so
that a node without Docker never loads the library. Runs in the thread that resolves the settings.
"""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from khala.config.control_group import cpu_limit, memory_limit
from khala.errors import ConfigurationError

DOCKER = "DOCKER"
ENV = "ENV"
_INTERFACE = re.compile(r"[A-Z][A-Z0-9_-]*(?:\.[0-9]+)?")
_DOCKER_TIMEOUT_S = 5


class Host:
    """This host, as the settings refer to it. `environment` is the process's, or a test's."""

    def __init__(self, environment: Mapping[str, str], docker_sock: str) -> None:
        self._environment = environment
        self._docker_sock = docker_sock
        self._container: Any = None

    def name(self, value: str, source: str) -> str:
        """A node's name: `ENV` is $NAME; anything else is itself."""
        if value != ENV:
            return value
        name = self._environment.get("NAME", "")
        if not name:
            raise ConfigurationError(f"{source}: ENV takes the name from $NAME, which is not set: set NAME")
        return name

    def address(self, value: str, source: str) -> str:
        """A host name or IP address: `DOCKER` is the container's name, `ETH0` that interface's address."""
        if value == DOCKER:
            return str(self._own_container(source).name)
        if not _INTERFACE.fullmatch(value):
            return value
        return _interface_address(value, source)

    def published_port(self, listen_port: int, source: str) -> int:
        """The port of the Docker host at which this container's TCP port `listen_port` is published."""
        bindings = self._own_container(source).attrs["NetworkSettings"]["Ports"].get(f"{listen_port}/tcp")
        if not bindings:
            raise ConfigurationError(
                f"{source}: DOCKER: port {listen_port} of this container is not published on its host: "
                f"start the container with -p HOST-PORT:{listen_port}, or give the port as a number"
            )
        return int(bindings[0]["HostPort"])

    def _own_container(self, source: str) -> Any:
        if self._container is None:
            self._container = _find_container(self._docker_sock, source)
        return self._container


def host_name() -> str:
    """This host's name without its domain, which is what nodes are called when nobody names them."""
    return socket.gethostname().split(".")[0] or "localhost"


def cpus_offered() -> float:
    """How many CPUs this process may use: those of its affinity, within its control groups' quota."""
    return min(float(len(os.sched_getaffinity(0))), cpu_limit())


def cpu_count() -> int:
    """The same as whole CPUs, at least one."""
    return max(1, math.ceil(cpus_offered()))


def memory_bytes() -> int:
    """The physical memory of this host in bytes, or as much as its control groups leave this process."""
    return int(min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), memory_limit()))


def _interface_address(value: str, source: str) -> str:
    import psutil

    interfaces = psutil.net_if_addrs()
    wanted = next((name for name in interfaces if name.upper() == value), None)
    if wanted is None:
        known = ", ".join(sorted(name.upper() for name in interfaces))
        raise ConfigurationError(
            f"{source}: there is no network interface {value} here (there is {known}); "
            "a host name is written in small letters"
        )
    for entry in interfaces[wanted]:
        if entry.family == socket.AF_INET:
            return str(entry.address)
    raise ConfigurationError(f"{source}: interface {value} has no IPv4 address: give one as a number")


def _find_container(docker_sock: str, source: str) -> Any:
    try:
        import docker
    except ImportError as missing:
        raise ConfigurationError(
            f"{source}: DOCKER needs Docker's library: pip install 'khala[docker]', or give the value itself"
        ) from missing
    url = docker_sock if "://" in docker_sock else f"unix://{docker_sock}"
    try:
        client = docker.DockerClient(base_url=url, timeout=_DOCKER_TIMEOUT_S)
        return client.containers.get(_container_id())
    except (docker.errors.DockerException, OSError) as failure:
        raise ConfigurationError(
            f"{source}: DOCKER: cannot ask {url} about this container ({failure}): mount Docker's socket "
            "into the container and name it with --docker-sock, or give the value itself"
        ) from failure


def _container_id() -> str:
    """The id of the container that this process runs in; its host name is the id unless it was named."""
    mounts = Path("/proc/self/mountinfo")
    found = re.search(r"/containers/([0-9a-f]{64})/", mounts.read_text() if mounts.exists() else "")
    return found.group(1) if found else socket.gethostname()
