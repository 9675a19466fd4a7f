"""Executors that run nothing: they take assignments over the real wire, and say at once that all went well.

    python -m bench.fleet --etcd HOST:PORT --secret-file FILE [--executors 1] [--slots 1000]

Each has a lease, a bus connection and reports of its own, as real ones have; one process holds them all.
Prints `ready` once all are connected, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
import uuid
from pathlib import Path

import structlog

from khala.bus.bus import ThriftBus
from khala.bus.envelope import Envelope
from khala.bus.interface import BusSettings
from khala.coordination.etcd import boottime
from khala.coordination.etcd_client import EtcdClient
from khala.coordination.etcd_keys import PREFIX, view_of
from khala.coordination.etcd_session import EtcdSession
from khala.coordination.etcd_settings import address_of
from khala.coordination.interface import ClusterView, Member
from khala.core.messages import (
    AbortAttempt,
    AssignTask,
    AttemptFinished,
    AttemptReturned,
    ExecutorReport,
    LeaderAnnounced,
    OutcomeSettled,
    RecallAttempt,
    StartCleared,
    StartRequested,
)
from khala.core.task import Epoch, ExitReason, Outcome, Phase, PhaseResult, Result

LABELS = {"simulated": "yes"}
LEASE_S = 6.0
REPORT_EVERY_S = 1.0
SAY_AGAIN_S = 1.0
LEADER = "leader/scheduler"
SUCCESS = Result(
    execute=PhaseResult(
        exit_reason=ExitReason.EXITED, exit_code=0, started_at=1e9, wall_time_s=0.001, cpu_user_s=0.001,
        cpu_system_s=0.001, max_rss_bytes=4 << 20, max_memory_bytes=1 << 20, max_processes=1,
    ),
    enforced=("uid", "cgroup-v1:memory", "cgroup-v1:pids"),
)  # fmt: skip


class SimulatedExecutor:
    """One of them. Its mailbox runs in its bus's thread; `look` in the fleet's."""

    def __init__(self, name: str, slots: int, secret: bytes | None) -> None:
        self.member = Member(name=name, role="executor", incarnation=uuid.uuid4().hex)
        self.session = EtcdSession(LEASE_S, boottime)
        self._slots = slots
        self._epoch = Epoch()
        self._sequence = 0
        self._report_number = 0
        self._reported_at = 0.0
        self._lock = threading.Lock()
        self._unsettled: dict[tuple[str, int], tuple[float, AttemptFinished]] = {}
        settings = BusSettings(node=name, role="executor", incarnation=self.member.incarnation, secret=secret)
        self.bus = ThriftBus(settings)
        self.bus.register("executor", self._take)
        self.bus.start()

    def follow(self, view: ClusterView) -> None:
        """Dial the judicators, and know the leader."""
        addresses = {m.name: m.address for m in view.members.values() if m.role == "judicator"}
        self.bus.set_leader(view.leader)
        self.bus.set_peers(addresses)

    def look(self, now: float) -> None:
        """Report, and say again what was not answered."""
        if now - self._reported_at >= REPORT_EVERY_S:
            self._report()
        with self._lock:
            late = [key for key, (at, _) in self._unsettled.items() if now - at > SAY_AGAIN_S]
            again = [self._unsettled[key][1] for key in late]
            self._unsettled |= {key: (now, said) for key, said in zip(late, again, strict=True)}
        for said in again:
            self._say(said)

    def _take(self, envelope: Envelope) -> None:
        match envelope.payload:
            case AssignTask() as order:
                self._epoch, self._sequence = order.epoch, order.sequence
                if order.gated:
                    asked = {"task_id": order.task_id, "attempt": order.attempt}
                    incarnation = self.member.incarnation
                    self._say(StartRequested(executor=self.member.name, incarnation=incarnation, **asked))
                else:
                    self._finish(order.task_id, order.attempt)
            case StartCleared() as cleared:
                self._finish(cleared.task_id, cleared.attempt)
            case OutcomeSettled() as settled:
                with self._lock:
                    self._unsettled.pop((settled.task_id, settled.attempt), None)
            case LeaderAnnounced() as announced:
                self._epoch = announced.epoch
                self._report()
            case RecallAttempt() | AbortAttempt() as order:
                if (order.task_id, order.attempt) not in self._unsettled:
                    self._say(
                        AttemptReturned(
                            executor=self.member.name,
                            incarnation=self.member.incarnation,
                            task_id=order.task_id,
                            attempt=order.attempt,
                        )
                    )

    def _finish(self, task_id: str, attempt: int) -> None:
        at = time.time()
        outcome = Outcome(
            exit_reason=ExitReason.EXITED, succeeded=True, phase=Phase.EXECUTE, result=SUCCESS, finished_at=at
        )
        said = AttemptFinished(
            executor=self.member.name,
            incarnation=self.member.incarnation,
            task_id=task_id,
            attempt=attempt,
            started_at=at,
            outcome=outcome,
        )
        with self._lock:
            self._unsettled[task_id, attempt] = (time.monotonic(), said)
        self._say(said)

    def _report(self) -> None:
        self._report_number += 1
        self._reported_at = time.monotonic()
        self._say(
            ExecutorReport(
                executor=self.member.name,
                incarnation=self.member.incarnation,
                number=self._report_number,
                epoch=self._epoch,
                highest_epoch=self._epoch,
                slots=self._slots,
                cpus=float(self._slots),
                labels=LABELS,
                hostname="nowhere",
            )
        )

    def _say(self, message: object) -> None:
        self.bus.send(LEADER, message, sender="executor")


class Fleet:
    """All of them, over one connection to etcd, which the caller's thread serves."""

    def __init__(self, count: int, slots: int, etcd: str, secret: bytes | None) -> None:
        self._client = EtcdClient(address_of(etcd), secret=secret, timeout_s=5.0)
        self._executors = [SimulatedExecutor(f"simulated-{n}", slots, secret) for n in range(1, count + 1)]
        self._listed_at = 0.0

    def join(self) -> None:
        """Publish all."""
        for executor in self._executors:
            executor.session.renew(self._client)
            executor.session.publish(self._client, executor.member)

    def connected(self) -> bool:
        """Are all connected with a judicator?"""
        return all(executor.bus.peers() for executor in self._executors)

    def look(self) -> None:
        """Do what is due; call some ten times a second."""
        now = time.monotonic()
        if now - self._listed_at >= REPORT_EVERY_S:
            self._listed_at = now
            view = view_of(self._client.read_below(PREFIX))
            for executor in self._executors:
                executor.follow(view)
        for executor in self._executors:
            if boottime() >= executor.session.renewal_due_at():
                executor.session.renew(self._client)
            executor.look(now)

    def close(self) -> None:
        """Leave."""
        for executor in self._executors:
            executor.session.withdraw(self._client)
            executor.bus.close()
        self._client.close()


def main() -> None:
    """Join, serve, leave."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--etcd", required=True)
    words.add_argument("--secret-file", type=Path)
    words.add_argument("--executors", type=int, default=1)
    words.add_argument("--slots", type=int, default=1_000)
    options = words.parse_args()
    # Standard output is for `ready`.
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
    secret = options.secret_file.read_text().strip().encode() if options.secret_file else None
    fleet = Fleet(options.executors, options.slots, options.etcd, secret)
    fleet.join()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    said = False
    while not ended.wait(0.1):
        fleet.look()
        if not said and fleet.connected():
            said = True
            print("ready", flush=True)
    fleet.close()


if __name__ == "__main__":
    main()
