"""Archives in, output files out, verdicts and reasons, on a real cluster."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cluster.conftest import LocalCluster
from cluster.victims import victim
from wait import wait_until

from khala.client import Client

BIG = 5 << 20


@pytest.fixture
def client(running: LocalCluster) -> Iterator[Client]:
    with Client(running.ready["gateway"], running.ready["token"], patience_s=120) as client:
        yield client


@pytest.fixture
def http(running: LocalCluster) -> Iterator[httpx.Client]:
    token = {"Authorization": f"Bearer {running.ready['token']}"}
    with httpx.Client(base_url=running.ready["gateway"], headers=token, trust_env=False) as http:
        yield http


def test_a_tar_gz_in_and_files_out(client: Client, http: httpx.Client, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("src/main.c")
        member.size = 26
        archive.addfile(member, io.BytesIO(b"int main(void){return 0;}\n"))
    body = gzip.compress(packed.getvalue())
    stored = http.post("/api/v1/files", content=body, headers={"Content-Type": "application/octet-stream"})
    make = f"mkdir out; gcc -o out/main src/main.c; head -c {BIG} /dev/urandom > out/big; sha256sum out/big"
    task = client.run(
        {
            "archives": [{"file_id": stored.json()["sha256"], "path": ""}],
            "execute": {"command": make},
            "outputs": [{"glob": "out/**", "required": True}],
        },
        timeout_s=240,
    )
    assert task.state == "succeeded", task.raw
    assert task.execute is not None
    assert [file.path for file in task.outputs] == ["out/big", "out/main"]
    for file in task.outputs:
        saved = client.save_output(task.id, file, tmp_path)
        assert hashlib.sha256(saved.read_bytes()).hexdigest() == file.sha256
    assert task.execute.stdout.text.split()[0] == task.outputs[0].sha256
    assert os.access(tmp_path / "out/main", os.X_OK)
    part = http.get(f"/api/v1/tasks/{task.id}/outputs/out/big", headers={"Range": "bytes=1048570-1048585"})
    assert part.content == (tmp_path / "out/big").read_bytes()[1048570:1048586]


def test_run_and_get_by_the_command_line(running: LocalCluster, tmp_path: Path) -> None:
    ended = running.khala(
        "run", "--json", "--output", "*.txt", "--", "bash", "-c", "echo 1 > a.txt; echo 2 > b.txt"
    )
    task = json.loads(ended.stdout)
    got = running.khala("get", "-o", str(tmp_path), task["id"], "b.txt")
    assert (got.returncode, got.stdout) == (0, f"{tmp_path}/b.txt\n"), got.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("b.txt", "2\n")]


def test_verdicts_by_the_command_line(running: LocalCluster, client: Client) -> None:
    asked: dict[str, Any] = {"execute": {"command": "seq 1 100000"}, "checker": "tokens"}
    whole = " ".join(map(str, range(1, 100_001)))
    right = client.run({**asked, "expected_output": whole}, timeout_s=300)
    wrong = client.run({**asked, "expected_output": whole.replace(" 77777 ", " 0 ")}, timeout_s=300)
    assert (right.state, right.verdict) == (wrong.state, "accepted")
    assert wrong.verdict == "wrong_answer"
    shown = running.khala("show", wrong.id).stdout
    assert "verdict   wrong answer" in shown
    assert "line 77777, column 1" in shown and "actual    '77777'" in shown


def test_a_task_that_nothing_can_take_says_so(running: LocalCluster, client: Client) -> None:
    id = client.submit({"execute": {"command": "true"}, "constraints": {"gpu": "yes"}})
    says = ("pending", "no executor can take it: ", "has no label 'gpu'")

    def shown() -> bool:
        # A question to executors that nobody answers in time is left out.
        text = running.khala("show", id).stdout
        return all(part in text for part in says)

    wait_until(shown, what="the reason")
    wait_until(lambda: says[-1] in running.khala("explain", id).stdout, what="the reason, explained")
    client.cancel(id)


def test_files_survive_their_executor(cluster: LocalCluster, gate: Path, tmp_path: Path) -> None:
    """It is killed when the end is in its journal and nobody takes the file. Its next life brings it, or,
    where that comes too late for the lease, the next attempt."""
    cluster.up("--slots", "1")
    digest = hashlib.sha256(b"kept\n").hexdigest().encode()
    with Client(cluster.ready["gateway"], cluster.ready["token"], patience_s=60) as client:
        waits = f"until [ -e {gate} ]; do sleep 0.05; done"
        id = client.submit({"execute": {"command": f"{waits}; echo kept > f"}, "outputs": [{"glob": "f"}]})
        wait_until(lambda: client.get(id).state == "running", what="a running task")
        judicator = victim(cluster, "judicator")
        judicator.send_signal(signal.SIGSTOP)
        try:
            gate.touch()
            journal = cluster.directory / "executor-1" / "journal"
            wait_until(lambda: digest in journal.read_bytes(), what="the end in the journal")
            victim(cluster, "executor").send_signal(signal.SIGKILL)
        finally:
            judicator.send_signal(signal.SIGCONT)
        task = client.wait(id, timeout_s=300)
        assert task.state == "succeeded", task.raw
        (file,) = task.outputs
        assert client.save_output(id, file, tmp_path / "got").read_text() == "kept\n"
        wait_until(lambda: not spooled(cluster.directory), what="an empty spool")


def spooled(directory: Path) -> list[str]:
    """What lies in the spools of a cluster; its workspaces come and go meanwhile."""
    return [name for folder, below, _ in os.walk(directory) if Path(folder).name == "spool" for name in below]
