"""A Docker engine for the tests alone: dockerd in namespaces of its own, shared with no other that runs here.

    mount    its own /run, and so its socket at the usual place: commands work as users write them
    network  its own ports, bridges and packet filter; the host's are not touched
    process  ends as a whole with its first process, containers included

The data root is kept for the next session, which finds base image and layers in it. Whoever speaks to it
or to what its containers publish does so from within (`Engine.run`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from wait import wait_until

READY_S = 240.0
CGROUP_PARENT = "khala-docker-tests"
NEEDED = ("dockerd", "docker", "containerd", "setpriv", "unshare", "nsenter", "ip", "iptables")
# The resolver's file may lie in /run, which is covered; the build needs it.
START = """
set -e
resolver=$(readlink -f /etc/resolv.conf); names=$(cat "$resolver" || true)
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$(dirname "$resolver")" /run/lock
[ -e "$resolver" ] || printf '%s\\n' "$names" > "$resolver"
[ -z "$OWN_NETWORK" ] || ip link set lo up
exec dockerd "$@"
"""


class EngineFailed(Exception):
    """No engine can run here; the text says why."""


class Engine:
    """A running dockerd: `process` started it, and `init` is the first process of its namespaces."""

    def __init__(self, process: subprocess.Popen[bytes], init: psutil.Process) -> None:
        self._process = process
        self._init = init

    def run(
        self,
        *words: str,
        check: bool = True,
        timeout_s: float = 300.0,
        cwd: Path = Path("/"),
        stdin: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, to its end."""
        ended = subprocess.run(
            self.command(*words, cwd=cwd),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=self.environment(variables or {}),
        )
        if check and ended.returncode != 0:
            raise AssertionError(
                f"{' '.join(words)[:500]}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
            )
        return ended

    def command(self, *words: str, cwd: Path = Path("/")) -> Sequence[str]:
        """What runs `words` inside."""
        where = (f"--target={self._init.pid}", "--mount", "--net", "--pid", f"--wd={cwd}")
        return ("nsenter", *where, "--", *words)

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """This process's, but for what would lead Docker's or Khala's commands elsewhere."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("KHALA_", "DOCKER_", "COMPOSE_"))}
        return {**kept, **variables}

    def docker(self, *words: str, check: bool = True, timeout_s: float = 300.0) -> str:
        """Run `docker WORDS`; its output without the last line's end."""
        return self.run("docker", *words, check=check, timeout_s=timeout_s).stdout.strip()

    def remove_everything(self) -> None:
        """All containers and volumes; the images stay."""
        self.run("docker", "swarm", "leave", "--force", check=False)
        wait_until(self._without_containers, timeout_s=300, what="the end of all containers")
        self.docker("volume", "prune", "--force")
        self.docker("network", "prune", "--force")

    def _without_containers(self) -> bool:
        """Remove those that are there; a swarm that was left may be removing them too."""
        containers = self.docker("ps", "--all", "--quiet").split()
        if containers:
            self.run("docker", "rm", "--force", "--volumes", *containers, check=False)
        return not containers

    def stop(self) -> None:
        """End it, by SIGTERM to dockerd; what is left ends with the process namespace."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._init.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()  # unshare --kill-child takes the rest along
            self._process.wait()


@contextmanager
def engine(data_root: Path, log: Path, *, own_network: bool) -> Iterator[Engine]:
    """An engine while the context lasts. Raises EngineFailed."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        raise EngineFailed(f"not installed: {', '.join(missing)} (as root: make system)")
    if os.geteuid() != 0:
        raise EngineFailed("an engine of its own needs root")
    data_root.mkdir(parents=True, exist_ok=True)
    with (data_root.parent / "lock").open("w") as lock, log.open("ab") as output:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one session at a time works in the data root
        running = _start(data_root, output.fileno(), own_network=own_network)
        try:
            _await_ready(running, log)
            yield running
        finally:
            running.stop()
            _remove_groups()


def _start(data_root: Path, output: int, *, own_network: bool) -> Engine:
    """dockerd is the first process of its namespaces; unshare(1) waits for it, and ends with the tests."""
    spaces = ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    options = [f"--data-root={data_root}", "--exec-root=/run/docker", "--pidfile=/run/docker.pid"]
    options += [f"--cgroup-parent=/{CGROUP_PARENT}", "--exec-opt=native.cgroupdriver=cgroupfs"]
    if own_network:
        spaces.append("--net")
    else:
        options += ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "unshare", *spaces, "--", "bash", "-c", START, "start", *options],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        env={**os.environ, "OWN_NETWORK": "yes" if own_network else ""},
    )

    def init() -> psutil.Process | None:
        assert process.poll() is None, f"unshare ended with {process.returncode}"
        children = psutil.Process(process.pid).children()
        return children[0] if children else None

    try:
        return Engine(process, wait_until(init, what="the engine's first process"))
    except (AssertionError, psutil.Error) as why:
        process.kill()
        process.wait()
        raise EngineFailed(f"namespaces cannot be made here: {why}") from None


def _await_ready(running: Engine, log: Path) -> None:
    def answers() -> bool:
        return running.run("docker", "version", check=False).returncode == 0

    def ready() -> bool:
        if running._process.poll() is not None:
            raise EngineFailed(f"dockerd ended at its start: {tail(log)}")
        return answers()

    try:
        wait_until(ready, timeout_s=READY_S, what="the engine")
    except AssertionError:
        raise EngineFailed(f"dockerd does not answer: {tail(log)}") from None


def tail(log: Path, lines: int = 4) -> str:
    """The end of a log, as one text."""
    return " | ".join(log.read_text(errors="replace").splitlines()[-lines:])


def _remove_groups() -> None:
    """The engine's control groups lie in the host's hierarchies and outlast its namespaces, empty."""
    parents = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name == CGROUP_PARENT]
    for parent in parents:
        folders = [Path(folder) for folder, _, _ in os.walk(parent, topdown=False)]
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
