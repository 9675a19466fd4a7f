"""Builds and runs a judicator: etcd and mongod first, then what speaks to them, then the actors."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from khala import __version__
from khala.actors.accounts import Accounts
from khala.actors.actor import Stage
from khala.actors.followers import Followers
from khala.actors.front_door import READERS
from khala.actors.judicator import Judicator
from khala.actors.membership import Membership
from khala.actors.native_service import NativeServiceActor
from khala.actors.outputs import Outputs
from khala.actors.replica_set import MONGOD, ReplicaSet
from khala.actors.scheduler import Scheduler
from khala.actors.store_reader import StoreReader
from khala.actors.store_writer import StoreWriter
from khala.actors.submissions import Submissions
from khala.actors.supervisor import Role, Supervisor
from khala.actors.ticker import Ticker
from khala.actors.uploads import Uploads
from khala.bus.bus import ThriftBus
from khala.bus.interface import BusSettings
from khala.config import JudicatorConfig
from khala.coordination.etcd import EtcdCoordination
from khala.coordination.etcd_auth import secure
from khala.coordination.etcd_settings import EtcdSettings
from khala.coordination.interface import ClusterView, Member
from khala.core.access import ADMIN, EXECUTOR, node_token, token_digest
from khala.node.joining import join
from khala.node.lifetime import Lifetime, Teardown, read_clocks, set_up_logging
from khala.node.native import etcd_server, mongod_address, mongod_server, native_service, own_etcd
from khala.services.native_process import NativeService
from khala.store.mongo.client import MongoSettings
from khala.store.mongo.replica_set import MongoReplicaSet, initiate_replica_set
from khala.store.mongo.store import MongoStore

LEADER_LEASE_S = 3.0
EXECUTOR_LEASE_S = 6.0
READY_WITHIN_S = 60.0


def run(config: JudicatorConfig) -> int:
    """Run until a signal or a fault; raises ConfigurationError before anything was changed."""
    set_up_logging(verbose=config.main_print_log or config.boot_print_log)
    lifetime, teardown = Lifetime("judicator"), Teardown()
    lifetime.catch_signals()
    try:
        _start(config, lifetime, teardown)
        return lifetime.wait()
    finally:
        teardown.run()


def _start(config: JudicatorConfig, lifetime: Lifetime, teardown: Teardown) -> None:
    secret = config.secret.encode() or None
    services = _native_services(config)
    for name, service in services.items():
        service.start()
        teardown.add(name, service.stop)
    for service in services.values():
        service.wait_ready(READY_WITHIN_S)
    endpoint = own_etcd(config)
    if secret is not None:
        secure(endpoint, secret)
    mongo = _make_replica_set(config)
    store, replica_set = MongoStore(mongo), MongoReplicaSet(mongo)
    teardown.add("store", store.close)
    teardown.add("replica set", replica_set.close)
    store.prepare(first_generation=int(read_clocks().unix_s))
    _make_tokens(config, store, secret)
    incarnation = uuid.uuid4().hex
    bus = ThriftBus(
        BusSettings(
            node=config.main_name,
            role="judicator",
            incarnation=incarnation,
            cluster_id=store.cluster_id(),
            secret=secret,
            listen=(config.main_listen_address, config.main_listen_port),
        )
    )
    bus.start()
    teardown.add("bus", bus.close)
    coordination = EtcdCoordination(
        EtcdSettings(endpoints=[endpoint], secret=secret, lease_ttl_s=LEADER_LEASE_S)
    )
    address = f"{config.main_advertise_address}:{config.main_advertise_port or config.main_listen_port}"
    member = Member(
        name=config.main_name,
        role="judicator",
        incarnation=incarnation,
        address=address,
        details={MONGOD: mongod_address(config)},
    )

    def cast(failed: Callable[[str, str], None]) -> Sequence[Role]:
        stage = Stage(node=config.main_name, bus=bus, clock=read_clocks, failed=failed)
        return _cast(stage, config, services, store, replica_set, coordination)

    supervisor = Supervisor.start(cast, clock=read_clocks, gave_up=lifetime.give_up)
    teardown.add("actors", partial(supervisor.stop, timeout=30.0))
    join(coordination, member, bus, config)
    teardown.add("membership", coordination.close)
    coordination.register_judicator(config.main_name, address)
    coordination.campaign()
    intervals_s = {"scheduler": 0.2, "judicator": 1.0, "uploads": 10.0, "followers": 0.5, "replica-set": 3.0}
    intervals_s |= {f"service-{name}": 0.5 for name in services}
    ticker = Ticker(config.main_name, bus, intervals_s)
    ticker.start()
    teardown.add("ticker", ticker.stop)


def _cast(
    stage: Stage,
    config: JudicatorConfig,
    services: dict[str, NativeService],
    store: MongoStore,
    replica_set: MongoReplicaSet,
    coordination: EtcdCoordination,
) -> Sequence[Role]:
    """The actors in the order of their start; those that others speak to come first."""
    uploads = config.data_dir / "uploads"
    uploads.mkdir(exist_ok=True)
    readers = [
        Role(name=name, start=partial(StoreReader.start, stage, name=name, store=store))
        for name in (*READERS, "scheduler-reader")
    ]
    watchers = [
        Role(
            name=f"service-{name}",
            start=partial(NativeServiceActor.start, stage, name=name, service=service),
            essential=True,
        )
        for name, service in services.items()
    ]
    membership = partial(
        Membership.start,
        stage,
        coordination=coordination,
        listeners=("scheduler", "judicator", "replica-set"),
        peers_of=partial(_peers_of, config.main_name),
    )
    return [
        *watchers,
        *readers,
        Role(name="store-writer", start=partial(StoreWriter.start, stage, store=store)),
        Role(name="submissions", start=partial(Submissions.start, stage, store=store)),
        Role(name="uploads", start=partial(Uploads.start, stage, store=store, directory=uploads)),
        Role(name="accounts", start=partial(Accounts.start, stage, store=store)),
        Role(name="followers", start=partial(Followers.start, stage, store=store)),
        Role(name="outputs", start=partial(Outputs.start, stage, store=store)),
        Role(name="replica-set", start=partial(ReplicaSet.start, stage, admin=replica_set)),
        Role(
            name="scheduler",
            start=partial(Scheduler.start, stage, coordination=coordination, lease_s=EXECUTOR_LEASE_S),
        ),
        Role(
            name="judicator",
            start=partial(Judicator.start, stage, version=__version__, secured=config.auth == "token"),
        ),
        Role(name="membership", start=membership, essential=True),
    ]


def _peers_of(name: str, view: ClusterView) -> dict[str, str]:
    """Of two judicators the one whose name sorts later dials the other."""
    return {
        member.name: member.address
        for member in view.members.values()
        if member.role == "judicator" and member.name < name
    }


def _native_services(config: JudicatorConfig) -> dict[str, NativeService]:
    return {
        "etcd": native_service(etcd_server(config), print_log=config.etcd_print_log),
        "mongod": native_service(mongod_server(config), print_log=config.mongodb_print_log),
    }


def _make_replica_set(config: JudicatorConfig) -> MongoSettings:
    settings = MongoSettings(
        hosts=(f"127.0.0.1:{config.mongodb_listen_port}",),
        replica_set=config.mongodb_replica_set,
        secret=config.secret,
    )
    initiate_replica_set(settings, mongod_address(config), timeout_s=READY_WITHIN_S)
    return settings


def _make_tokens(config: JudicatorConfig, store: MongoStore, secret: bytes | None) -> None:
    """The first administrator's token, printed once if it was not given, and the executors'."""
    if config.auth != "token":
        return
    token = "" if config.main_first_token_digest else secrets.token_urlsafe(32)
    digest = config.main_first_token_digest or token_digest(token)
    if store.create_first_token(digest, "admin", ADMIN) and token:
        print(f"khala judicator: the administrator's token, shown only now: {token}", flush=True)  # noqa: T201
    if secret is not None:
        of_executors = token_digest(node_token(secret, EXECUTOR))
        if store.role_of(of_executors) is None:
            store.create_token(of_executors, "executors", EXECUTOR)
