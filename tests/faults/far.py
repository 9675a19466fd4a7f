"""An executor that the tests run themselves: on a host of its own, or on a disk of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster.conftest import KHALA, ROOT, LocalCluster, environment
from faults.wire import Host

ENDS_WITHIN_S = 60


class FarExecutor:
    """`khala executor` of that name, in `data_dir`; on `host`, if given, and with further environment
    `variables`. Nobody else restarts it."""

    def __init__(
        self,
        cluster: LocalCluster,
        name: str,
        data_dir: Path,
        *,
        host: Host | None = None,
        slots: int = 3,
        variables: Mapping[str, str] | None = None,
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
        self._environment = {**environment(), **(variables or {})}
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; its output goes to the cluster's logs. It ends when this process does."""
        with (self._cluster.directory / "logs" / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, f"--end-with-fd={self._reading}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
                pass_fds=(self._reading,),
                start_new_session=True,
            )

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
        process = self._process
        try:
            if process is not None and not self.ended():
                process.send_signal(signal.SIGTERM)
                process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            assert process is not None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            os.close(self._reading)
            os.close(self._writing)
