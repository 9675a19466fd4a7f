"""Real local clusters, made by the command that users give, and the check that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster.guard import guarded, working_in
from wait import wait_until

from khala.local.record import ClusterRecord, read_record

ROOT = Path(__file__).resolve().parents[2]
KHALA = (sys.executable, "-m", "khala.cli.main")
UP_S = 300


class LocalCluster:
    """A data directory and the commands given about it, by the `khala` that is `command`."""

    def __init__(self, directory: Path, command: Sequence[str] = KHALA) -> None:
        self.directory = directory
        self.command = command
        self.ready: Mapping[str, Any] = {}

    def khala(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command about this cluster to its end."""
        return run_khala(self._words(words), stdin=stdin, command=self.command)

    def khala_job(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `khala job VERB` about this cluster to its end."""
        return run_khala(["job", verb, f"--data-dir={self.directory}", *words])

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and let it run."""
        return subprocess.Popen(
            [*self.command, *self._words(words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )

    def up(self, *words: str) -> Mapping[str, Any]:
        """`khala up --detach`, which must succeed."""
        try:
            ended = self.khala("up", "--detach", "--json", "--port", "0", *words)
        except subprocess.TimeoutExpired as silent:
            raise AssertionError(f"{silent}\n{self.logs()}") from silent
        assert ended.returncode == 0, f"{ended.stderr}\n{self.logs()}"
        self.ready = json.loads(ended.stdout)
        return self.ready

    def told(self, *words: str) -> Any:
        """What `khala` prints with `--json`; AssertionError, a wait's "not yet", when it prints nothing."""
        ended = self.khala(*words)
        assert ended.stdout, ended.stderr
        return json.loads(ended.stdout)

    def record(self) -> ClusterRecord:
        """What the supervisor wrote down last."""
        found = read_record(self.directory)
        assert found is not None
        return found

    def processes(self, role: str = "") -> list[psutil.Process]:
        """Every process on this machine that works in the data directory, or in that of one role process;
        etcd, mongod and their guards too."""
        return working_in(str(self.directory / role))

    def logs(self) -> str:
        """The end of every log, for a test that failed."""
        paths = sorted((self.directory / "logs").glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in paths)

    def _words(self, words: Sequence[str]) -> list[str]:
        """The data directory goes to the subcommand, before what it may pass on."""
        command, *rest = words
        return [command, f"--data-dir={self.directory}", *rest]


def run_khala(
    words: Sequence[str],
    *,
    timeout_s: float = UP_S,
    stdin: str = "",
    command: Sequence[str] = KHALA,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*command, *words],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(), **variables},
        timeout=timeout_s,
        check=False,
    )


def environment() -> dict[str, str]:
    """This process's environment without what would lead a command to another cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KHALA_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def make_cluster(directory: Path, command: Sequence[str] = KHALA) -> Iterator[LocalCluster]:
    """A cluster that is down; whatever was started is down again afterwards, and nothing is left."""
    cluster = LocalCluster(directory, command)
    with guarded(directory):
        try:
            yield cluster
        finally:
            cluster.khala("down")
            try:
                wait_until(lambda: not cluster.processes(), what="the end of every process")
            except AssertionError:
                for process in cluster.processes():
                    process.send_signal(signal.SIGKILL)
                raise


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster of the test's own, not started yet."""
    yield from make_cluster(tmp_path / "cluster")


@pytest.fixture
def gates() -> Iterator[Path]:
    """A folder in which tasks may wait for files, where every user can see them."""
    with tempfile.TemporaryDirectory(prefix="khala-gates-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def gate(gates: Path) -> Path:
    """One such file."""
    return gates / "open"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A running cluster that the tests of a module share and leave as they found it."""
    for cluster in make_cluster(tmp_path_factory.mktemp("shared") / "cluster"):
        cluster.up("--slots", "2")
        yield cluster
