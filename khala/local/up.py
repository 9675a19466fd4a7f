"""`khala up`: from what was asked to a running supervisor.

Claims the data directory, chooses ports, makes the secret and the first token, then hands over to
`ClusterSupervisor` in the same thread.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from khala import __version__
from khala.config.host import memory_bytes
from khala.errors import ConfigurationError
from khala.local.data_directory import DataDirectory
from khala.local.plan import ClusterSize, plan_cluster, port_names
from khala.local.ports import HeldPorts, choose_gateway_port, choose_ports
from khala.local.record import ClusterRecord, read_record
from khala.local.stopping import end_orphans
from khala.local.supervisor import ClusterSupervisor, Patience, Say

DEFAULT_PORT = 7000
ROLE_COMMAND = (sys.executable, "-m", "khala.cli.main")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOrder:
    """What the operator asked for; None means "as before, or the default"."""

    data_dir: Path
    judicators: int | None = None
    executors: int | None = None
    gateways: int | None = None
    slots: int | None = None
    port: int | None = None
    host: str = "127.0.0.1"
    auth: str = "token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A ready cluster; `new_token` if its token was made by this very start."""

    record: ClusterRecord
    new_token: bool


def run_cluster(
    order: UpOrder,
    *,
    environment: Mapping[str, str],
    say: Say,
    when_claimed: Callable[[DataDirectory], None],
    when_ready: Callable[[Ready], None],
    command: Sequence[str] = ROLE_COMMAND,
    patience: Patience | None = None,
) -> None:
    """Run a cluster in this process until it is told to stop. Raises ConfigurationError (nothing was
    changed), StartFailed or Interrupted (nothing is left running)."""
    directory, held = DataDirectory.claim(order.data_dir), HeldPorts()
    try:
        when_claimed(directory)
        before = read_record(directory.path) or ClusterRecord()
        if end_orphans(directory.path, before, say):
            say("ended what an earlier, killed `khala up` had left")
        size = cluster_size(order, before)
        chance = random.Random()
        ports = _ports(order, size, before, chance, held)
        token = before.token or f"khala_{secrets.token_urlsafe(32)}"
        founders = before.founders or before.judicators or size.judicators
        plans = plan_cluster(
            size,
            ports,
            data_dir=directory.path,
            secret_file=directory.secret_file,
            gateway_host=order.host,
            first_token_digest=hashlib.sha256(token.encode()).hexdigest(),
            auth=order.auth,
            founders=founders,
            total_memory_bytes=memory_bytes(),
        )
        record = ClusterRecord(
            gateway=f"http://{_reachable(order.host)}:{ports['gateway-1']}",
            token=token,
            version=__version__,
            started_at=time.time(),
            judicators=size.judicators,
            founders=founders,
            executors=size.executors,
            gateways=size.gateways,
            slots=order.slots or before.slots,
            ports={**before.ports, **ports},
        )
        ClusterSupervisor(
            directory,
            plans,
            record,
            command=command,
            environment=_role_environment(environment),
            say=say,
            when_ready=lambda ready: when_ready(Ready(record=ready, new_token=not before.token)),
            patience=patience or Patience(),
        ).run()
    except ConfigurationError:
        directory.discard_if_new()
        raise
    finally:
        held.release()
        directory.release()


def cluster_size(order: UpOrder, before: ClusterRecord) -> ClusterSize:
    """What was asked for, as before where nothing was; ConfigurationError for fewer judicators."""
    judicators = order.judicators or before.judicators or 1
    if judicators < before.judicators:
        raise ConfigurationError(
            f"this cluster has {before.judicators} judicators, and {judicators} may be no majority of them: "
            f"give --judicators {before.judicators} or more, or another --data-dir for a new cluster"
        )
    executors = order.executors or before.executors or 1
    slots = order.slots or before.slots or max(1, len(os.sched_getaffinity(0)) // executors)
    gateways = order.gateways or before.gateways or 1
    return ClusterSize(judicators=judicators, executors=executors, gateways=gateways, slots=slots)


def _ports(
    order: UpOrder, size: ClusterSize, before: ClusterRecord, chance: random.Random, held: HeldPorts
) -> Mapping[str, int]:
    wanted = before.ports.get("gateway-1", DEFAULT_PORT) if order.port is None else order.port
    ports = choose_ports(port_names(size), before.ports, chance, held)
    return {**ports, "gateway-1": choose_gateway_port(wanted, order.host, ports.values(), chance, held)}


def _reachable(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host


def _role_environment(environment: Mapping[str, str]) -> Mapping[str, str]:
    """What the roles inherit: nothing of Khala's own, for their flags say it all."""
    kept = {name: value for name, value in environment.items() if not name.startswith("KHALA_")}
    if "KHALA_DEBUG" in environment:
        kept["KHALA_DEBUG"] = environment["KHALA_DEBUG"]
    return kept
