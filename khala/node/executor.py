"""Builds and runs an executor: the launchers first, before any thread exists, then the rest."""

from __future__ import annotations

import os
import socket
import threading
import uuid
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from khala.actors import pulse
from khala.actors.actor import Stage
from khala.actors.delivery import Delivery
from khala.actors.executor import Executor
from khala.actors.executor_messages import Drain
from khala.actors.file_delivery import FileDelivery
from khala.actors.heartbeat import Heartbeat
from khala.actors.membership import CUT_OFF, Membership
from khala.actors.slot import Slot
from khala.actors.supervisor import Role, Supervisor
from khala.actors.ticker import Ticker
from khala.bus.bus import ThriftBus
from khala.bus.interface import Bus, BusSettings
from khala.bus.rpc_client import RpcClient, RpcSettings
from khala.config import ExecutorConfig
from khala.coordination.etcd import EtcdCoordination
from khala.coordination.etcd_settings import EtcdSettings
from khala.coordination.interface import ClusterView, Member
from khala.core.access import EXECUTOR, node_token
from khala.core.commands import Caller
from khala.core.execution.holdings import Capacity
from khala.core.execution.machine import ExecutorMachine
from khala.core.execution.speech import Identity
from khala.core.transfers import PutFileChunk, PutOutput
from khala.execution.file_cache import FileCache
from khala.execution.job import LauncherEvent, PhaseStarted
from khala.execution.journal import Journal
from khala.execution.pool import LauncherPool
from khala.execution.probing import HostIsolation, probe_isolation
from khala.execution.settings import ExecutionSettings, prepare_workspace_root
from khala.execution.spools import Spools
from khala.execution.uid_range import claim_uid_range, first_uid
from khala.execution.user_group import task_owner
from khala.node.joining import join, require_endpoints
from khala.node.lifetime import Lifetime, Teardown, read_clocks, set_up_logging
from khala.node.stored_files import StoredFiles

EXECUTOR_LEASE_S = 6.0
FILE_CACHE_BYTES = 2 << 30
JOURNAL_ROOM_BYTES = 64 << 10
PUT_WITHIN_S = 15.0


def run(config: ExecutorConfig) -> int:
    """Run until a signal or a fault. The first SIGTERM drains, a second one ends at once."""
    set_up_logging(verbose=config.main_print_log or config.boot_print_log)
    lifetime, teardown = Lifetime("executor"), Teardown()
    try:
        _start(config, lifetime, teardown)
        return lifetime.wait()
    finally:
        teardown.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the actors of an executor are made of."""

    bus: ThriftBus
    coordination: EtcdCoordination
    pool: LauncherPool
    journal: Journal
    files: StoredFiles
    spools: Spools
    put: Callable[[Any], Future[Any]]
    machine: ExecutorMachine
    member: Member


def _start(config: ExecutorConfig, lifetime: Lifetime, teardown: Teardown) -> None:
    name, incarnation = config.main_name, uuid.uuid4().hex
    parts = _make_parts(config, incarnation, teardown)

    def cast(failed: Callable[[str, str], None]) -> Sequence[Role]:
        stage = Stage(node=name, bus=parts.bus, clock=read_clocks, failed=failed)
        return _cast(stage, config, parts, drained=lifetime.end)

    supervisor = Supervisor.start(cast, clock=read_clocks, gave_up=lifetime.give_up)
    teardown.add("actors", partial(supervisor.stop, timeout=30.0))
    join(parts.coordination, parts.member, parts.bus, config)
    teardown.add("membership", parts.coordination.close)
    intervals_s = {"executor": 0.1, "delivery": 0.1, "file-delivery": 0.1, "pulse": pulse.EVERY_S}
    ticker = Ticker(name, parts.bus, intervals_s | {"heartbeat": config.main_report_interval})
    ticker.start()
    teardown.add("ticker", ticker.stop)
    lifetime.catch_signals(drain=partial(_drain, config, parts.bus, lifetime))


def _make_parts(config: ExecutorConfig, incarnation: str, teardown: Teardown) -> _Parts:
    """Everything below the actors, in an order that forks before the first thread."""
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    journal = Journal(config.data_dir / "journal", room_bytes=JOURNAL_ROOM_BYTES)
    teardown.add("journal", journal.close)
    name, secret = config.main_name, config.secret.encode() or None
    bus = ThriftBus(BusSettings(node=name, role="executor", incarnation=incarnation, secret=secret))

    def said(event: LauncherEvent) -> None:
        if not (isinstance(event, PhaseStarted) and event.over):
            bus.send(f"{name}/executor", event)

    spools = Spools(config.data_dir / "spool")
    settings, isolation, kept_fds = _prepare_execution(config, teardown)
    pool = LauncherPool(settings, said, kept_fds=kept_fds)
    pool.start()
    teardown.add("launchers", pool.close)
    bus.start()
    teardown.add("bus", bus.close)
    endpoints = require_endpoints(config)
    coordination = EtcdCoordination(
        EtcdSettings(endpoints=endpoints, secret=secret, lease_ttl_s=EXECUTOR_LEASE_S)
    )
    rpc = RpcClient(
        RpcSettings(node=name, incarnation=incarnation, secret=secret),
        lambda: list(judicators_of(coordination.view()).values()),
    )
    rpc.start()
    teardown.add("rpc", rpc.close)
    cache = FileCache(config.data_dir / "files", FILE_CACHE_BYTES)
    caller = Caller(token=node_token(secret, EXECUTOR) if secret else "")

    def put(command: PutOutput | PutFileChunk) -> Future[Any]:
        return rpc.call(replace(command, caller=caller), timeout_s=PUT_WITHIN_S)

    return _Parts(
        bus=bus,
        coordination=coordination,
        pool=pool,
        journal=journal,
        files=StoredFiles(cache, rpc, caller),
        spools=spools,
        put=put,
        machine=_machine(config, incarnation, isolation),
        member=Member(name=name, role="executor", incarnation=incarnation),
    )


def _machine(config: ExecutorConfig, incarnation: str, isolation: HostIsolation) -> ExecutorMachine:
    capacity = Capacity(slots=config.main_task_vacant, cpus=config.cpus, memory_bytes=config.memory)
    identity = Identity(
        executor=config.main_name,
        incarnation=incarnation,
        hostname=socket.gethostname(),
        labels=dict(config.label),
        isolation=tuple(level.value for level in isolation.levels),
        layers=isolation.layers,
    )
    return ExecutorMachine(
        identity=identity, capacity=capacity, report_interval_s=config.main_report_interval
    )


def _cast(
    stage: Stage, config: ExecutorConfig, parts: _Parts, *, drained: Callable[[], None]
) -> Sequence[Role]:
    """The actors in the order of their start."""
    files, coordination = parts.files, parts.coordination
    stored = {"fetch": files.fetch, "release": files.release}
    slot = partial(Slot.start, stage, pool=parts.pool, spools=parts.spools, **stored)
    executor = partial(
        Executor.start,
        stage,
        machine=parts.machine,
        journal=parts.journal,
        pool=parts.pool,
        drained=drained,
        lease_until=coordination.lease_until,
        lease_s=EXECUTOR_LEASE_S,
        give_up=partial(_publish_reach, coordination, parts.member),
    )
    membership = partial(
        Membership.start, stage, coordination=coordination, listeners=(), peers_of=judicators_of
    )
    delivery = partial(Delivery.start, stage, spools=parts.spools, put=parts.put)
    file_delivery = partial(FileDelivery.start, stage, spools=parts.spools, put=parts.put)
    return [
        Role(name="delivery", start=delivery, essential=True),
        Role(name="file-delivery", start=file_delivery, essential=True),
        *(
            Role(name=f"slot-{number}", start=partial(slot, number=number), essential=True)
            for number in range(config.main_task_vacant)
        ),
        Role(name="executor", start=executor, essential=True),
        Role(name="heartbeat", start=partial(Heartbeat.start, stage, has_room=parts.pool.has_room)),
        Role(name="membership", start=membership),
        Role(name="pulse", start=partial(pulse.Pulse.start, stage, "pulse", file=config.health_file)),
    ]


def _publish_reach(coordination: EtcdCoordination, member: Member, given_up: bool) -> None:
    coordination.update(replace(member, details={CUT_OFF: "yes"} if given_up else {}))


def judicators_of(view: ClusterView) -> dict[str, str]:
    """Everybody but judicators dials every judicator that lives (P14)."""
    return {m.name: m.address for m in view.members.values() if m.role == "judicator"}


def _drain(config: ExecutorConfig, bus: Bus, lifetime: Lifetime) -> None:
    """Hand back what has not started; end when the rest is done, or after a while."""
    bus.send(f"{config.main_name}/executor", Drain())
    timer = threading.Timer(config.stop_within, lifetime.end)
    timer.daemon = True
    timer.start()


def _prepare_execution(
    config: ExecutorConfig, teardown: Teardown
) -> tuple[ExecutionSettings, HostIsolation, tuple[int, ...]]:
    """Settings of the launchers, what isolation holds, and the locks that the launchers must hold too.

    Workspaces lie in the data directory if the slots' users can enter it, else in /var/tmp. Executors in
    containers share the kernel, which counts a uid's processes, and all have the same data directory: the
    host's name keeps their uids apart.
    """
    number = zlib.crc32(f"{socket.gethostname()}:{config.data_dir}".encode())
    owner = task_owner(config.main_task_user_group)
    root = config.data_dir / "work"
    uid_base, kept_fds = first_uid(), tuple[int, ...]()
    if os.geteuid() == 0:
        if not _others_may_pass(root):
            root = Path("/var/tmp") / f"khala-{config.main_name}-{number:08x}"
        if owner is None:
            claimed = claim_uid_range(number)
            teardown.add("uid range", claimed.release)
            uid_base, kept_fds = claimed.base, (claimed.fd,)
    settings = ExecutionSettings(
        slots=config.main_task_vacant,
        workspace_root=root,
        uid_base=uid_base,
        shared_owner=owner,
        memory_bytes=config.memory,
        spool_root=config.data_dir / "spool",
    )
    prepare_workspace_root(root, settings.slot_uid(0))
    isolation = probe_isolation(settings)
    return isolation.apply(settings), isolation, kept_fds


def _others_may_pass(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)
