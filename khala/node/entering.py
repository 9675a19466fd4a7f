"""How a judicator comes into its cluster: founds it, joins it, or returns to it with its data.

Runs in the main thread while the node starts, and may wait for others as long as it must, telling what
for; a signal ends it. Data are never deleted: those of a judicator that was removed are set aside (P20).
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from enum import StrEnum

import structlog

from khala.config import JudicatorConfig
from khala.coordination.etcd_auth import secure
from khala.coordination.etcd_errors import NOT_FOR_LEARNERS
from khala.coordination.etcd_members import EtcdMembers
from khala.coordination.etcd_register import EtcdRegister
from khala.coordination.interface import ClusterView, Registration
from khala.errors import ConfigurationError, Unavailable
from khala.node.joining import etcd_endpoints
from khala.node.known_judicators import KnownJudicators
from khala.node.lifetime import Lifetime
from khala.node.native import mongod_address, own_etcd
from khala.services.data_directory import DataDirectory
from khala.services.etcd import EtcdServer
from khala.services.native_process import NativeService
from khala.services.ports import host_port
from khala.store.mongo.client import MongoSettings
from khala.store.mongo.replica_set import check_member, initiate_replica_set

NAMESAKE_GONE_WITHIN_S = 10.0
PRIMARY_WITHIN_S = 5.0
ANSWERS_AT_ONCE_S = 1.5


class Way(StrEnum):
    """How it comes in."""

    FOUND = "founds a cluster"
    JOIN = "joins a cluster"
    RETURN = "returns to its cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """The way in, and the etcd server with what it needs for it."""

    way: Way
    etcd: EtcdServer


class Entering:
    """The steps, in the order of the methods."""

    def __init__(self, config: JudicatorConfig, known: KnownJudicators, lifetime: Lifetime) -> None:
        self._config = config
        self._known = known
        self._lifetime = lifetime
        self._secret = config.secret.encode() or None
        self._own = own_etcd(config)
        self._members = EtcdMembers(self._others, secret=self._secret)
        self._log = structlog.get_logger().bind(node=config.main_name)

    def choose(self, etcd: EtcdServer, mongod: DataDirectory) -> Entrance:
        """The way in, before any server runs. `mongod` is where its data are."""
        data = etcd.files()
        if _holds_data(data):
            if not self._known.left and not self._was_removed(etcd):
                return Entrance(way=Way.RETURN, etcd=etcd)
            self._set_aside(data)
            self._set_aside(mongod)
        if self._has_others():
            return self._join(etcd, mongod)
        way, config = Way.FOUND, self._config
        if config.etcd_cluster_init_independent:
            return Entrance(way=way, etcd=etcd)
        if config.etcd_cluster_init_member:
            others = _static_members(config.etcd_cluster_init_member, etcd)
            if not self._may_begin() and _holds_data(mongod):  # the first one's data will be everybody's
                self._set_aside(mongod)
            return Entrance(way=way, etcd=dataclasses.replace(etcd, initial_cluster=others))
        return Entrance(way=way, etcd=dataclasses.replace(etcd, discovery=config.etcd_cluster_init_discovery))

    def await_etcd(self, service: NativeService, etcd: EtcdServer) -> None:
        """Wait until the own etcd serves, for which it may need a majority, or a vote from the others."""

        def attempt() -> None:
            service.wait_ready(1.0)
            try:
                if self._secret is not None:
                    secure(self._own, self._secret, timeout_s=0.0)
                EtcdRegister([self._own], secret=self._secret).view()
                # Docker publishes a restarted container's ports anew; etcd keeps to what it was told first.
                EtcdMembers(lambda: [self._own], secret=self._secret).readdress(etcd.name, etcd.peer_url)
            except Unavailable as why:
                if NOT_FOR_LEARNERS in str(why):
                    self._members.promote(etcd.name)
                raise

        self._lifetime.insist("for etcd, which needs a majority of the judicators", attempt)

    def find_store(self, way: Way) -> MongoSettings:
        """Where the replica set is; made here, if this is the judicator that begins it."""
        config, host = self._config, mongod_address(self._config)
        here = MongoSettings(
            hosts=(f"127.0.0.1:{config.mongodb_listen_port}",),
            replica_set=config.mongodb_replica_set,
            secret=config.secret,
        )
        register = EtcdRegister([self._own], secret=self._secret)

        def find() -> MongoSettings:
            if register.founded():
                check_member(here, host)
            elif way is not Way.JOIN and self._may_begin() and register.founder(host) == host:
                initiate_replica_set(here, host, timeout_s=PRIMARY_WITHIN_S)
            else:
                raise Unavailable("another judicator has yet to begin it")
            registered = register.view().registered.values()
            others = [one.mongod for one in registered if one.mongod and not one.leaving]
            if not others and register.founder(host) != host:
                raise Unavailable("the judicator that began it is not registered yet")
            hosts = [*here.hosts, *others]
            return dataclasses.replace(here, hosts=tuple(dict.fromkeys(hosts)))

        return self._lifetime.insist("for the replica set", find)

    def found(self, cluster_id: str) -> None:
        """The store is made: from now on nobody begins another one. Refuses a store of another cluster."""
        register = EtcdRegister([self._own], secret=self._secret)
        counts = self._lifetime.insist("for etcd", lambda: register.found(cluster_id))
        if counts != cluster_id:
            raise ConfigurationError(
                f"this mongod's data are of cluster {cluster_id}, and etcd's of cluster {counts}: "
                f"start with the data that belong together, or move {self._config.data_dir} aside"
            )

    # --- within ----------------------------------------------------------------------------------

    def _others(self) -> list[str]:
        """The other judicators' etcd: as given, then as remembered."""
        own = {self._own, etcd_client_url(self._config)}
        urls = dict.fromkeys([*etcd_endpoints(self._config), *self._known.etcd_clients()])
        return [url for url in urls if url.removeprefix("http://").rstrip("/") not in own and url not in own]

    def _has_others(self) -> bool:
        """Is there a cluster to join? Where a service and --etcd-cluster-init-independent are both given,
        there is if somebody behind the service answers."""
        config = self._config
        if self._known.etcd_clients() or not config.etcd_cluster_service:
            return bool(self._others())
        if not config.etcd_cluster_init_independent:
            return True
        try:
            return bool(self._members.all())
        except Unavailable:
            return False

    def _may_begin(self) -> bool:
        """May this one begin the replica set of a new cluster? Of a list the first may, which is thus the
        one into whose place a backup can be restored."""
        config = self._config
        listed = "" if config.etcd_cluster_init_independent else config.etcd_cluster_init_member
        return not listed or listed.partition("=")[0].strip() == config.etcd_name

    def _look(self) -> ClusterView:
        return EtcdRegister(self._others(), secret=self._secret).view()

    def _was_removed(self, etcd: EtcdServer) -> bool:
        """Do the others say that this etcd is none of theirs? If none of them says anything at once, as when
        all of them start, it returns to what it knows: etcd itself keeps one out that was removed."""
        name = self._config.main_name
        try:
            EtcdRegister(self._others(), secret=self._secret, timeout_s=ANSWERS_AT_ONCE_S).view()
            while (entry := self._look().registered.get(name)) is not None and entry.leaving:
                self._log.warning("waiting until the removal of this judicator is complete")
                self._lifetime.pause(1.0)
            members = self._members.all()
        except Unavailable:
            return False
        return not any(etcd.name == m.name or etcd.peer_url in m.peer_urls for m in members)

    def _join(self, etcd: EtcdServer, mongod: DataDirectory) -> Entrance:
        """Be added to the others' etcd. Data of a mongod that still is a member stay: others may count
        on what it has confirmed."""
        insist = self._lifetime.insist
        entry = self._await_place()
        if _holds_data(mongod) and (entry is None or entry.mongod != mongod_address(self._config)):
            self._set_aside(mongod)
        self._log.warning("joining", through=", ".join(self._others()))
        initial = insist("to be added to etcd", lambda: self._members.add(etcd.name, etcd.peer_url))
        self._known.note_left(left=False)
        return Entrance(way=Way.JOIN, etcd=dataclasses.replace(etcd, initial_cluster=initial, joining=True))

    def _await_place(self) -> Registration | None:
        """The cluster's register has a place for this judicator: nobody of its name lives or leaves. What
        it says of this judicator."""
        name, patience_s = self._config.main_name, NAMESAKE_GONE_WITHIN_S
        while True:
            view = self._lifetime.insist("for the cluster to join", self._look)
            self._refuse_anothers_address(view)
            entry, lives = view.registered.get(name), ("judicator", name) in view.members
            if not lives and not (entry is not None and entry.leaving):
                return entry
            if lives and patience_s <= 0:
                raise ConfigurationError(f"another judicator is called {name}: give each its own --main-name")
            patience_s -= 1.0
            self._lifetime.pause(1.0)

    def _refuse_anothers_address(self, view: ClusterView) -> None:
        mine = mongod_address(self._config)
        for name, other in view.registered.items():
            if name != self._config.main_name and other.mongod == mine and not other.leaving:
                raise ConfigurationError(
                    f"{mine} is the mongod of {name}: give --mongodb-advertise-address and "
                    "--mongodb-advertise-port as the others reach this judicator"
                )

    def _set_aside(self, files: DataDirectory) -> None:
        """Once no server of an earlier life works on it."""
        if not files.path.exists():
            return

        def wait_for_its_end() -> None:
            lock = files.try_lock()
            if lock is None:
                raise Unavailable(f"a server still runs in {files.path}")
            os.close(lock)

        self._lifetime.insist("for an earlier server to end", wait_for_its_end)
        self._log.warning("data of an earlier membership are set aside", place=str(files.set_aside()))


def etcd_client_url(config: JudicatorConfig) -> str:
    """Where the others reach this judicator's etcd."""
    port = config.etcd_advertise_client_port or config.etcd_listen_client_port
    return f"http://{host_port(config.etcd_advertise_address, port)}"


def _holds_data(files: DataDirectory) -> bool:
    return files.data.is_dir() and any(files.data.iterdir())


def _static_members(given: str, etcd: EtcdServer) -> dict[str, str]:
    """The other members of `NAME=PEER-URL,…`, which must name this one too."""
    members: dict[str, str] = {}
    for word in given.split(","):
        name, equals, url = word.strip().partition("=")
        if not (name and equals and url.startswith("http://")):
            raise ConfigurationError(
                f"--etcd-cluster-init-member: {word!r} is not NAME=PEER-URL, such as j1=http://10.0.0.1:2000"
            )
        members[name] = url.rstrip("/")
    if members.pop(etcd.name, None) != etcd.peer_url:
        raise ConfigurationError(
            f"--etcd-cluster-init-member does not name this judicator as {etcd.name}={etcd.peer_url}: "
            "give every judicator the same list, with the names and the addresses that they advertise"
        )
    return members
