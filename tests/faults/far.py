"""An executor that the tests run themselves: on a host of its own, or on a disk of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from cluster.conftest import KHALA, ROOT, LocalCluster, environment
from faults.wire import Host

ENDS_WITHIN_S = 30


class FarExecutor:
    """`khala executor` of that name, in `data_dir`; on `host`, if given. Not restarted by anybody else."""

    def __init__(
        self, cluster: LocalCluster, name: str, data_dir: Path, *, host: Host | None = None, slots: int = 3
    ) -> None:
        self.name = name
        self.data_dir = data_dir
        self._cluster = cluster
        port = cluster.record().ports["judicator-1.etcd_client"]
        enter = ("nsenter", f"--net={host.path}", "--") if host is not None else ()
        self._command = (
            *enter, *KHALA, "executor", f"--main-name={name}", f"--data-dir={data_dir}",
            f"--secret-file={cluster.directory / 'secret'}", "--auth=token",
            f"--etcd-cluster-join-member-client=http://127.0.0.1:{port}", f"--main-task-vacant={slots}",
            f"--cpus={slots}", "--memory=4000000000", f"--label=place={name}",
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; its output goes to the cluster's logs."""
        with (self._cluster.directory / "logs" / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=environment(),
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ended(self) -> bool:
        """Has it ended by itself?"""
        assert self._process is not None
        return self._process.poll() is not None

    def stop(self) -> None:
        """SIGTERM, and wait until it has drained."""
        if self._process is None or self.ended():
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise
