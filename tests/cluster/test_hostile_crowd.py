"""Five attacks at once on one executor: its daemon stays small, and the tasks beside them are right."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from cluster.conftest import LocalCluster
from cluster.executor_footprint import Footprint
from wait import wait_until

from khala.client import Client

GIB = 1 << 30
MIB = 1 << 20
GROWTH_BYTES = 64 * MIB
NEIGHBOURS = 40
LOOK_EVERY_S = 0.05


def limited(command: str, **limits: float) -> dict[str, Any]:
    return {
        "execute": {"command": command},
        "limits": {"wall_time": 60, "processes": 64, "disk": 200 * MIB, **limits},
        "resources": {"cpus": 0.1},
    }


ATTACKS: Mapping[str, tuple[dict[str, Any], set[str]]] = {
    "10 GiB of output": (
        limited(f"exec head -c {10 * GIB} /dev/zero", output_size=11 * GIB),
        {"exited", "wall_time_limit", "output_limit"},
    ),
    "a memory hog of 4 GiB": (
        limited(f"exec head -c {4 * GIB} /dev/zero | tail -c {4 * GIB} | wc -c", memory=256 * MIB),
        {"memory_limit"},
    ),
    "a fork bomb": (
        limited("b() { b | b & }; for i in 1 2 3 4; do b; done; sleep 5; exit 1", wall_time=8),
        {"process_limit", "wall_time_limit", "exited"},
    ),
    "a daemon": (
        limited("(setsid bash -c 'trap \"\" TERM HUP; (while :; do sleep 1; done) & sleep 300' &); exit 0"),
        {"exited"},
    ),
}


def bomb() -> bytes:
    """A zip file of 8 MB that would be 8 GiB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("zeros", "w", force_zip64=True) as entry:
            for _ in range(256):
                entry.write(bytes(4 * MIB))
    return packed.getvalue()


@pytest.fixture
def crowded(cluster: LocalCluster) -> Iterator[tuple[LocalCluster, Client]]:
    ready = cluster.up("--slots", "7")
    with Client(ready["gateway"], ready["token"], patience_s=120) as client:
        yield cluster, client


def test_attacks_at_once_harm_nobody(crowded: tuple[LocalCluster, Client]) -> None:
    cluster, client = crowded
    footprint = Footprint(cluster)
    assert client.run({"execute": {"command": "true"}}, timeout_s=300).state == "succeeded"
    bomb_id = upload(cluster, bomb())
    before, peak, stop = footprint.daemon_bytes(), Peak(footprint), threading.Event()
    watcher = threading.Thread(target=peak.watch, args=(stop,))
    watcher.start()
    try:
        attacks = {what: client.submit(task) for what, (task, _) in ATTACKS.items()}
        zipped = limited("true", disk=50 * MIB) | {"archives": [{"file_id": bomb_id, "path": ""}]}
        attacks["a zip bomb"] = client.submit(zipped)
        sums = [
            limited(f"i=0; for n in {{1..{n}00}}; do i=$((i + n)); done; echo $i")
            for n in range(1, NEIGHBOURS)
        ]
        neighbours = [answer["id"] for answer in client.submit_many(sums)]
        for number, task_id in enumerate(neighbours, 1):
            task = client.wait(task_id, timeout_s=300)
            n = number * 100
            assert task.raw["result"]["execute"]["stdout"]["head"] == f"{n * (n + 1) // 2}\n", task.raw
        ended = {what: client.wait(task_id, timeout_s=300).raw for what, task_id in attacks.items()}
    finally:
        stop.set()
        watcher.join()
    for what, (_, expected) in ATTACKS.items():
        assert ended[what]["exit_reason"] in expected, json.dumps(ended[what])[:2000]
    assert ended["a zip bomb"]["exit_reason"] in ("setup_failed", "disk_limit")
    assert peak.bytes - before < GROWTH_BYTES
    wait_until(lambda: not any(footprint.leftovers().values()), what="nothing left")


class Peak:
    """The most that the executor's own process held at any look."""

    def __init__(self, footprint: Footprint) -> None:
        self._footprint = footprint
        self.bytes = 0

    def watch(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_S):
            self.bytes = max(self.bytes, self._footprint.daemon_bytes())


def upload(cluster: LocalCluster, content: bytes) -> str:
    ready = cluster.ready
    headers = {"Authorization": f"Bearer {ready['token']}"}
    answer = httpx.post(f"{ready['gateway']}/api/v1/files", content=content, headers=headers, timeout=60)
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["sha256"])
