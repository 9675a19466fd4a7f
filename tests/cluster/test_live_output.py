"""Live and whole output on a real cluster: followed, resumed, kept when an executor dies."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster.conftest import LocalCluster
from cluster.victims import victim
from wait import wait_until

from bench.sse import STREAMING, Crowd, following, memory_of
from khala.client import Client, OutputEnd, OutputPiece, TaskView

PATTERN = b"0123456789abcdef" * 4096
MUCH = 64 << 20
GROWTH_BYTES = 24 << 20
"""What a gateway may grow from one crowd to the next: a tenth of what one would take that was kept."""


@pytest.fixture
def client(running: LocalCluster) -> Iterator[Client]:
    with Client(running.ready["gateway"], running.ready["token"], patience_s=120) as client:
        yield client


def submit(client: Client, command: str, **task: Any) -> str:
    return client.submit({"execute": {"command": command}, **task})


def read(client: Client, task_id: str, **which: Any) -> bytes:
    return b"".join(piece.data for piece in client.read_output(task_id, **which))


def spool_of(cluster: LocalCluster) -> Path:
    """The executor's. Nobody may search for it: folders of tasks come and go beside it."""
    return cluster.directory / "executor-1" / "spool"


def stdout_of(task: TaskView) -> dict[str, Any]:
    stdout: dict[str, Any] = task.raw["result"]["execute"]["stdout"]
    return stdout


def test_followed_while_it_runs_and_resumed_by_offset(client: Client) -> None:
    id = submit(client, "echo one; exec sleep 600")
    first = next(client.follow(id))
    assert isinstance(first, OutputPiece)
    assert (first.offset, first.data) == (0, b"one\n")
    # The first bytes may be there before the start is recorded.
    wait_until(lambda: client.get(id).state == "running", what="the start to be recorded")
    resumed = client.follow(id, attempt=first.attempt, offset=2)
    piece = next(resumed)
    assert isinstance(piece, OutputPiece)
    assert (piece.offset, piece.data) == (2, b"e\n")
    client.cancel(id)
    (end,) = list(resumed)
    assert isinstance(end, OutputEnd)
    assert (end.state, end.size, end.next_attempt) == ("cancelled", 4, 0)


def test_lines_come_as_they_are_written(client: Client, gates: Path) -> None:
    waits = f"until [ -e {gates}/$n ]; do sleep 0.02; done"
    id = submit(client, f"for n in 1 2 3 4 5; do echo line $n; {waits}; done; echo err >&2")
    pieces = client.follow(id)
    for n in range(1, 6):
        piece = next(pieces)
        assert isinstance(piece, OutputPiece)
        assert piece.data == b"line %d\n" % n
        (gates / str(n)).touch()
    assert not any(isinstance(piece, OutputPiece) for piece in pieces)
    assert read(client, id, stream="stderr") == b"err\n"
    assert stdout_of(client.get(id))["stored"] == 0


def test_64_mib_are_whole(client: Client) -> None:
    id = submit(client, f"yes 0123456789abcdef | tr -d '\\n' | head -c {MUCH}")
    task = client.wait(id, timeout_s=400)
    assert task.state == "succeeded", task
    digest = hashlib.sha256(PATTERN * (MUCH // len(PATTERN))).hexdigest()
    stdout = stdout_of(task)
    assert (stdout["size"], stdout["stored"], stdout["truncated"], stdout["sha256"]) == (
        MUCH, MUCH, False, digest
    )  # fmt: skip
    fetched = hashlib.sha256()
    for piece in client.read_output(id):
        fetched.update(piece.data)
    assert fetched.hexdigest() == digest
    assert read(client, id, tail=16) == b"0123456789abcdef"


def test_binary_output_is_whole_and_followed(client: Client) -> None:
    id = submit(client, "head -c 300000 /dev/urandom | tee kept; sleep 0.3; sha256sum kept >&2")
    pieces = list(client.follow(id))
    data = b"".join(piece.data for piece in pieces if isinstance(piece, OutputPiece))
    assert len(data) == 300_000
    said = read(client, id, stream="stderr").split()[0].decode()
    assert said == hashlib.sha256(data).hexdigest() == stdout_of(client.get(id))["sha256"]
    assert read(client, id) == data


def test_a_killed_executors_output_so_far_is_kept_apart(
    running: LocalCluster, client: Client, gates: Path
) -> None:
    waits = f"until [ -e {gates}/again ]; do sleep 0.1; done"
    id = submit(client, f'echo "output of $KHALA_ATTEMPT"; {waits}')
    follower = client.follow(id)
    piece = next(follower)
    assert isinstance(piece, OutputPiece)
    assert piece.data == b"output of %d\n" % piece.attempt
    victim(running, "executor").send_signal(signal.SIGKILL)
    (end,) = list(follower)
    (gates / "again").touch()
    assert isinstance(end, OutputEnd)
    task = client.wait(id, timeout_s=240)
    assert task.state == "succeeded"
    assert task.attempt >= end.next_attempt > piece.attempt
    assert read(client, id, attempt=piece.attempt) == piece.data
    assert read(client, id) == b"output of %d\n" % task.attempt


def test_a_killed_executor_delivers_what_it_had_spooled(
    running: LocalCluster, client: Client, gates: Path
) -> None:
    """Much was spooled, and little of it had left when it died: the next life brings the rest."""
    whole = bytes(MUCH // 2) + b"all\n"
    id = submit(client, f"[ -e {gates}/again ] || (head -c {MUCH // 2} /dev/zero; echo all; sleep 600)")

    def spooled() -> int:
        """By which attempt."""
        for path in spool_of(running).glob(f"{id}-*/execute.stdout"):
            if path.stat().st_size == len(whole):
                return int(path.parent.name.partition("-")[2])
        return 0

    attempt = wait_until(spooled, what="all of it in the spool")
    (gates / "again").touch()
    victim(running, "executor").send_signal(signal.SIGKILL)
    assert client.wait(id, timeout_s=240).state == "succeeded"
    wait_until(
        lambda: read(client, id, attempt=attempt) == whole, timeout_s=300, what="the lost attempt's output"
    )


def test_nothing_is_left_in_the_spool(running: LocalCluster, client: Client) -> None:
    id = submit(client, "seq 1 100000; sleep 0.3")
    assert client.wait(id, timeout_s=300).state == "succeeded"
    wait_until(lambda: not any(spool_of(running).iterdir()), what="an empty spool")


def test_readers_that_misbehave_cost_a_gateway_nothing(running: LocalCluster, client: Client) -> None:
    """Silent, slow and vanished ones: memory stays flat, and others are answered. The slow third, at least,
    gets an answer each round. KHALA_SSE_READERS=200 is the long form; bench/sse.py measures how long others
    wait."""
    readers = int(os.environ.get("KHALA_SSE_READERS", "30"))
    task_id = submit(client, STREAMING)
    wait_until(lambda: client.get(task_id).state == "running", what="the task")
    gateway = victim(running, "gateway")
    crowd = Crowd(running.ready["gateway"], running.ready["token"], following(task_id), readers)
    held = []
    for round in range(3):
        with crowd.gathered():
            wait_until(
                lambda round=round: (
                    crowd.vanished >= (round + 1) * readers and crowd.answered >= (round + 1) * (readers // 3)
                ),
                timeout_s=240,
                what="the crowd",
            )
            for _ in range(20):
                assert client.stats()["total"] >= 1
            assert client.run({"execute": {"command": "echo through"}}, timeout_s=300).state == "succeeded"
            held.append(memory_of(gateway))
        wait_until(lambda: _followers(gateway) < 5, timeout_s=300, what="the gateway to let them go")
    # What the first round took is kept for the next ones; a leak would grow by each.
    assert max(held[1:]) - held[0] < GROWTH_BYTES, held
    client.cancel(task_id)


def _followers(gateway: psutil.Process) -> int:
    """Connections that are open at the gateway's side."""
    found = [one for process in (gateway, *gateway.children(recursive=True))
             for one in process.net_connections("tcp")]  # fmt: skip
    own = {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}
    return len([one for one in found if one.laddr.port in own and one.status == psutil.CONN_ESTABLISHED])


def test_khala_run_and_logs_show_output_live(running: LocalCluster, client: Client) -> None:
    process = running.spawn("run", "--name", "live", "--", "bash", "-c", "echo now; echo not >&2; sleep 600")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "now\n"
    assert process.stderr.readline() == "not\n"
    # The first lines may be there before the start is recorded.
    (task,) = wait_until(
        lambda: [task for task in client.list(name_prefix="live").tasks if task.state == "running"],
        what="the start to be recorded",
    )
    assert running.khala("logs", "--stream", "stdout", task.id).stdout == "now\n"
    follower = running.spawn("logs", "-f", "--stream", "stdout", task.id)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert follower.communicate(timeout=60) == ("", "")
    assert follower.returncode == 0
