"""Output for the tests of logs: where it is, what is kept of it, and a task that has much."""

from __future__ import annotations

import random

from gateway.cluster_model import phase_result, sha256
from gateway.conftest import Gateway

from khala.core.task import ExitReason, Outcome, Phase, Result, StreamCapture

LARGE = random.Random(3).randbytes(1_300_000)


def log_of(id: str, stream: str = "stdout", phase: str = "execute") -> str:
    return f"/api/v1/tasks/{id}/logs/{phase}/{stream}"


def ended(stdout: StreamCapture) -> Outcome:
    part = phase_result()
    done = Result(execute=type(part)(exit_reason=part.exit_reason, exit_code=0, stdout=stdout))
    return Outcome(exit_reason=ExitReason.EXITED, succeeded=True, phase=Phase.EXECUTE, result=done)


def stored(data: bytes, written: int = 0) -> StreamCapture:
    size = written or len(data)
    return StreamCapture(
        size=size, head=data[:10], tail=data[-10:], truncated=size > len(data), stored_bytes=len(data),
        sha256=sha256(data),
    )  # fmt: skip


def large_task(gateway: Gateway) -> str:
    """A finished task with a large output, all of it stored."""
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.write(id, LARGE)
    gateway.cluster.end(id, ended(stored(LARGE)))
    return id
