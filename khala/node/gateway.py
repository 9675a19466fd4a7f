"""Builds and runs a gateway: Sanic in front, and for each of its workers a way to the judicators."""

from __future__ import annotations

import os
import sys
import uuid
from dataclasses import dataclass
from functools import partial

from khala.actors.actor import Report, Stage
from khala.actors.membership import Membership
from khala.actors.supervisor import Role, Supervisor
from khala.bus.bus import ThriftBus
from khala.bus.interface import BusSettings
from khala.bus.rpc_client import RpcClient, RpcSettings
from khala.config import GatewayConfig
from khala.coordination.etcd import EtcdCoordination
from khala.coordination.etcd_settings import EtcdSettings
from khala.coordination.interface import Member
from khala.gateway.judicators import Command, Judicators, Reply
from khala.gateway.rpc import PatientJudicators
from khala.gateway.serving import serve
from khala.gateway.settings import GatewaySettings
from khala.node.executor import judicators_of
from khala.node.joining import join, require_endpoints
from khala.node.lifetime import EXIT_FAULT, Teardown, read_clocks, set_up_logging
from khala.node.privileges import become

GATEWAY_LEASE_S = 6.0


def run(config: GatewayConfig) -> int:
    """Serve until a signal."""
    set_up_logging(verbose=config.main_print_log or config.boot_print_log)
    become(config.run_as, config.data_dir)
    settings = GatewaySettings(
        host=config.uwsgi_host,
        port=config.uwsgi_port,
        workers=config.uwsgi_processes,
        auth="none" if config.auth == "none" else "token",
        stop_grace_s=config.stop_within,
        health_file=config.health_file,
        access_log=config.uwsgi_print_log,
        allowed_hosts=tuple(name.strip() for name in config.allowed_hosts.split(",") if name.strip()),
    )
    serve(settings, WorkerFactory(config))
    return 0


@dataclass(frozen=True, slots=True)
class WorkerFactory:
    """Makes, inside a worker process, what that worker asks its questions of. Picklable."""

    config: GatewayConfig

    def __call__(self) -> Judicators:
        """Join the cluster as one more gateway worker."""
        return JoinedJudicators(self.config)


class JoinedJudicators:
    """`Judicators` of a node that is a member while it is open. Used from one event loop."""

    def __init__(self, config: GatewayConfig) -> None:
        self._teardown = Teardown()
        try:
            self._patient = PatientJudicators(self._join(config))
        except BaseException:
            self._teardown.run()
            raise

    def _join(self, config: GatewayConfig) -> RpcClient:
        incarnation = uuid.uuid4().hex
        name = f"{config.main_name}.{incarnation[:6]}" if config.uwsgi_processes > 1 else config.main_name
        secret = config.secret.encode() or None
        bus = ThriftBus(BusSettings(node=name, role="gateway", incarnation=incarnation, secret=secret))
        bus.start()
        self._teardown.add("bus", bus.close)
        endpoints = require_endpoints(config)
        coordination = EtcdCoordination(
            EtcdSettings(endpoints=endpoints, secret=secret, lease_ttl_s=GATEWAY_LEASE_S)
        )

        def cast(failed: Report) -> list[Role]:
            stage = Stage(node=name, bus=bus, clock=read_clocks, failed=failed)
            membership = partial(
                Membership.start, stage, coordination=coordination, listeners=(), peers_of=judicators_of
            )
            return [Role(name="membership", start=membership)]

        supervisor = Supervisor.start(cast, clock=read_clocks, gave_up=_give_up)
        self._teardown.add("actors", partial(supervisor.stop, timeout=10.0))
        join(coordination, Member(name=name, role="gateway", incarnation=incarnation), bus, config)
        self._teardown.add("membership", coordination.close)
        rpc = RpcClient(
            RpcSettings(node=name, incarnation=incarnation, secret=secret),
            lambda: list(judicators_of(coordination.view()).values()),
        )
        rpc.start()
        return rpc

    async def call(self, command: Command, *, timeout_s: float = 10.0) -> Reply:
        """See `Judicators.call`."""
        return await self._patient.call(command, timeout_s=timeout_s)

    def close(self) -> None:
        """Leave the cluster."""
        self._patient.close()
        self._teardown.run()


def _give_up(reason: str) -> None:
    """This process cannot go on: it says why and ends; whoever runs it starts it anew."""
    print(f"khala gateway: {reason}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(EXIT_FAULT)
