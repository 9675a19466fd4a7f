"""Builds and runs a judicator: etcd and mongod first, then what speaks to them, then the actors."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from khala import __version__
from khala.actors import pulse
from khala.actors.accounts import Accounts
from khala.actors.actor import Stage
from khala.actors.cleaner import Cleaner
from khala.actors.followers import Followers
from khala.actors.front_door import READERS
from khala.actors.jobs import Jobs
from khala.actors.judicator import Judicator
from khala.actors.membership import Membership
from khala.actors.native_service import NativeServiceActor
from khala.actors.outputs import Outputs
from khala.actors.replica_set import MONGOD, ReplicaSet, Upkeep
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
from khala.coordination.etcd_members import EtcdMembers
from khala.coordination.etcd_settings import EtcdSettings
from khala.coordination.interface import ClusterView, Member, Registration
from khala.core.access import ADMIN, EXECUTOR, node_token, token_digest
from khala.core.retention import Retention
from khala.node.entering import Entering, etcd_client_url
from khala.node.joining import join
from khala.node.known_judicators import KnownJudicators
from khala.node.leaving import Leaving
from khala.node.lifetime import Lifetime, Stopped, Teardown, read_clocks, set_up_logging
from khala.node.native import etcd_server, mongod_address, mongod_server, native_service, own_etcd
from khala.node.privileges import become
from khala.services.native_process import NativeService
from khala.store.mongo.client import MongoSettings
from khala.store.mongo.replica_set import MongoReplicaSet
from khala.store.mongo.store import MongoStore

LEADER_LEASE_S = 3.0
EXECUTOR_LEASE_S = 6.0


def run(config: JudicatorConfig) -> int:
    """Run until a signal or a fault; raises ConfigurationError before anything was changed."""
    set_up_logging(verbose=config.main_print_log or config.boot_print_log)
    become(config.run_as, config.data_dir)
    lifetime, teardown = Lifetime("judicator"), Teardown()
    lifetime.catch_signals()
    try:
        _start(config, lifetime, teardown)
        return lifetime.wait()
    except Stopped:
        return lifetime.exit_code
    finally:
        teardown.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the actors of a judicator are made of."""

    services: Mapping[str, NativeService]
    bus: ThriftBus
    store: MongoStore
    coordination: EtcdCoordination
    upkeep: Upkeep


def _start(config: JudicatorConfig, lifetime: Lifetime, teardown: Teardown) -> None:
    name, incarnation = config.main_name, uuid.uuid4().hex
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = KnownJudicators(config.data_dir, name)
    services, settings = _enter(config, known, lifetime, teardown)
    store = _open_store(config, settings, lifetime, teardown)
    Entering(config, known, lifetime).found(store.cluster_id())
    bus = _make_bus(config, incarnation, store.cluster_id())
    bus.start()
    teardown.add("bus", bus.close)
    own = own_registration(config)
    coordination = EtcdCoordination(
        EtcdSettings(
            endpoints=[own_etcd(config), *known.etcd_clients()],
            secret=config.secret.encode() or None,
            lease_ttl_s=LEADER_LEASE_S,
        )
    )
    member = Member(
        name=name,
        role="judicator",
        incarnation=incarnation,
        address=own.address,
        details={MONGOD: own.mongod},
    )
    leaving = Leaving(coordination, member, own, known, lifetime.end, within_s=config.stop_within)
    replica_set = MongoReplicaSet(settings)
    teardown.add("replica set", replica_set.close)
    upkeep = Upkeep(
        replica_set=replica_set,
        etcd=EtcdMembers(
            lambda: [own_etcd(config), *known.etcd_clients()], secret=config.secret.encode() or None
        ),
        coordination=coordination,
        own=own,
        give_up_after_s=config.remove_missing_after,
        removed=leaving.was_removed,
    )
    parts = _Parts(services=services, bus=bus, store=store, coordination=coordination, upkeep=upkeep)

    def cast(failed: Callable[[str, str], None]) -> Sequence[Role]:
        return _cast(Stage(node=name, bus=bus, clock=read_clocks, failed=failed), config, parts)

    supervisor = Supervisor.start(cast, clock=read_clocks, gave_up=lifetime.give_up)
    teardown.add("actors", partial(supervisor.stop, timeout=30.0))
    join(coordination, member, bus, config, also=known.note)
    teardown.add("membership", coordination.close)
    coordination.register_judicator(name, own)
    coordination.campaign()
    intervals_s = {"scheduler": 0.2, "judicator": 1.0, "uploads": 10.0, "followers": 0.5, "replica-set": 1.0}
    intervals_s |= {"jobs": 0.5, "cleaner": 0.25}
    intervals_s["pulse"] = pulse.EVERY_S
    intervals_s |= {f"service-{kind}": 0.5 for kind in services}
    ticker = Ticker(name, bus, intervals_s)
    ticker.start()
    teardown.add("ticker", ticker.stop)
    if config.leave_at_stop:
        lifetime.catch_signals(drain=leaving.begin)


def _enter(
    config: JudicatorConfig, known: KnownJudicators, lifetime: Lifetime, teardown: Teardown
) -> tuple[Mapping[str, NativeService], MongoSettings]:
    """Have etcd and mongod running as parts of the cluster; where the store is."""
    entering, mongod = Entering(config, known, lifetime), mongod_server(config)
    entrance = entering.choose(etcd_server(config), mongod.files())
    structlog.get_logger().info("judicator", way=entrance.way)
    services = {
        "etcd": native_service(entrance.etcd, print_log=config.etcd_print_log),
        "mongod": native_service(mongod, print_log=config.mongodb_print_log),
    }
    for name, service in services.items():
        service.start()
        teardown.add(name, service.stop)
    entering.await_etcd(services["etcd"], entrance.etcd)
    lifetime.insist("for mongod", partial(services["mongod"].wait_ready, 1.0))
    return services, entering.find_store(entrance.way)


def _open_store(
    config: JudicatorConfig, settings: MongoSettings, lifetime: Lifetime, teardown: Teardown
) -> MongoStore:
    """The store, prepared; that takes a majority of the judicators."""
    store = MongoStore(settings)
    teardown.add("store", store.close)
    prepare = partial(store.prepare, first_generation=int(read_clocks().unix_s))
    lifetime.insist("for the store, which needs a majority of the judicators", prepare)
    lifetime.insist("for the store", lambda: _make_tokens(config, store))
    return store


def _make_bus(config: JudicatorConfig, incarnation: str, cluster_id: str) -> ThriftBus:
    return ThriftBus(
        BusSettings(
            node=config.main_name,
            role="judicator",
            incarnation=incarnation,
            cluster_id=cluster_id,
            secret=config.secret.encode() or None,
            listen=(config.main_listen_address, config.main_listen_port),
        )
    )


def own_registration(config: JudicatorConfig) -> Registration:
    """What the register says of this judicator."""
    port = config.main_advertise_port or config.main_listen_port
    return Registration(
        address=f"{config.main_advertise_address}:{port}",
        mongod=mongod_address(config),
        etcd=config.etcd_name,
        etcd_client=etcd_client_url(config),
    )


def _cast(stage: Stage, config: JudicatorConfig, parts: _Parts) -> Sequence[Role]:
    """The actors in the order of their start; those that others speak to come first."""
    store, coordination = parts.store, parts.coordination
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
        for name, service in parts.services.items()
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
        Role(name="jobs", start=partial(Jobs.start, stage, store=store)),
        Role(name="cleaner", start=partial(Cleaner.start, stage, store=store, keep=retention_of(config))),
        Role(name="uploads", start=partial(Uploads.start, stage, store=store, directory=uploads)),
        Role(name="accounts", start=partial(Accounts.start, stage, store=store)),
        Role(name="followers", start=partial(Followers.start, stage, store=store)),
        Role(name="outputs", start=partial(Outputs.start, stage, store=store)),
        Role(name="replica-set", start=partial(ReplicaSet.start, stage, upkeep=parts.upkeep)),
        Role(
            name="scheduler",
            start=partial(Scheduler.start, stage, coordination=coordination, lease_s=EXECUTOR_LEASE_S),
        ),
        Role(
            name="judicator",
            start=partial(
                Judicator.start,
                stage,
                version=__version__,
                secured=config.auth == "token",
                counted=partial(store.times.samples, config.main_name),
            ),
        ),
        Role(name="membership", start=membership, essential=True),
        Role(name="pulse", start=partial(pulse.Pulse.start, stage, "pulse", file=config.health_file)),
    ]


def retention_of(config: JudicatorConfig) -> Retention:
    """For how long what is kept; 0 in the settings is for ever."""
    return Retention(
        finished_s=config.keep_finished or None,
        keys_s=config.keep_keys or None,
        files_s=config.keep_files or None,
        audit_s=config.keep_audit or None,
    )


def _peers_of(name: str, view: ClusterView) -> dict[str, str]:
    """Of two judicators the one whose name sorts later dials the other."""
    return {
        member.name: member.address
        for member in view.members.values()
        if member.role == "judicator" and member.name < name
    }


def _make_tokens(config: JudicatorConfig, store: MongoStore) -> None:
    """The first administrator's token, printed once if it was not given, and the executors'."""
    if config.auth != "token":
        return
    secret = config.secret.encode() or None
    token = "" if config.main_first_token_digest else secrets.token_urlsafe(32)
    digest = config.main_first_token_digest or token_digest(token)
    if store.create_first_token(digest, "admin", ADMIN) and token:
        print(f"khala judicator: the administrator's token, shown only now: {token}", flush=True)  # noqa: T201
    if secret is not None:
        of_executors = token_digest(node_token(secret, EXECUTOR))
        if store.role_of(of_executors) is None:
            store.create_token(of_executors, "executors", EXECUTOR)
