"""Making a replica set of one fresh mongod, and changing its members.

The first is called by the node that starts the mongod, before a store is opened; the second by the
leader, one change at a time (P19).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from khala.core.membership import SetMember
from khala.errors import ConfigurationError, Unavailable
from khala.store.mongo.client import USER, Document, MongoSettings, login, mongo_password, open_client
from khala.store.mongo.failures import AUTHENTICATION_FAILED, UNAUTHORIZED, first_line, translated

ALREADY_INITIALIZED, USER_EXISTS = 23, 51003
ELECTION_TIMEOUT_MS, HEARTBEAT_MS = 2_000, 500
POLL_S = 0.05
STEPPED_DOWN_S = 30


def initiate_replica_set(settings: MongoSettings, member_host: str, *, timeout_s: float = 30.0) -> None:
    """Make the mongod at `settings.hosts[0]` the first member of its replica set, known to others as
    `member_host` (host:port), and create the database user; nothing happens to one that is made already.

    With a secret, `settings.hosts[0]` must be a loopback address: mongod lets only local clients create
    its first user. Raises ConfigurationError, or Unavailable when there is no primary in `timeout_s`.
    """
    with _direct(settings, {}) as local, translated("make the replica set", writes=False):
        hello = local.admin.command("hello")
        _check_identity(hello, settings, member_host)
        if "setName" not in hello:
            _initiate(local, settings, member_host)
        _wait_for_primary(local, settings, member_host, timeout_s)
        if settings.secret:
            _create_user(local, settings)


def check_member(settings: MongoSettings, member_host: str) -> None:
    """Refuse, by ConfigurationError, a mongod at `settings.hosts[0]` whose data are another set's."""
    with _direct(settings, {}) as local, translated("say who it is", writes=False):
        _check_identity(local.admin.command("hello"), settings, member_host)


def _direct(settings: MongoSettings, credentials: Document) -> MongoClient[Document]:
    return MongoClient(
        settings.hosts[0],
        directConnection=True,
        connectTimeoutMS=2_000,
        serverSelectionTimeoutMS=8_000,
        timeoutMS=int(settings.timeout_s * 1000),
        appname="khala-setup",
        **credentials,
    )


def _check_identity(hello: Document, settings: MongoSettings, member_host: str) -> None:
    """Refuse a mongod that is no replica-set member, or another set's, or known under another address."""
    name = hello.get("setName")
    hosts = [*hello.get("hosts", ()), *hello.get("passives", ())]
    if name is None and not hello.get("isreplicaset"):
        raise ConfigurationError(
            f"mongod at {settings.hosts[0]} runs without a replica set: "
            f"start it with --replSet {settings.replica_set}"
        )
    if name is not None and name != settings.replica_set:
        raise ConfigurationError(
            f"mongod at {settings.hosts[0]} belongs to replica set {name!r}, not {settings.replica_set!r}: "
            f"start with --mongodb-replica-set={name}, or with an empty data directory"
        )
    if len(hosts) == 1 and member_host not in hosts:  # of several, the leader will exchange the member
        raise ConfigurationError(
            f"the data directory of mongod at {settings.hosts[0]} was made for {', '.join(hosts)}, not for "
            f"{member_host}: advertise one of those addresses, or start with an empty data directory"
        )


def _initiate(local: MongoClient[Document], settings: MongoSettings, member_host: str) -> None:
    config = {
        "_id": settings.replica_set,
        "members": [{"_id": 0, "host": member_host}],
        "settings": {"electionTimeoutMillis": ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": HEARTBEAT_MS},
    }
    try:
        local.admin.command("replSetInitiate", config)
    except OperationFailure as error:
        if error.code in (UNAUTHORIZED, AUTHENTICATION_FAILED, ALREADY_INITIALIZED):
            return  # it has a configuration that it has not loaded yet, or cannot use: the wait will tell
        raise ConfigurationError(
            f"mongod at {settings.hosts[0]} refuses the replica set {settings.replica_set!r} with member "
            f"{member_host}: {first_line(error)}; check that it can reach that address and "
            "that it was started with the same --replSet"
        ) from error


def _wait_for_primary(
    local: MongoClient[Document], settings: MongoSettings, member_host: str, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        hello = local.admin.command("hello")
        _check_identity(hello, settings, member_host)
        elsewhere = hello.get("primary") not in (None, hello.get("me"))
        if (
            hello.get("isWritablePrimary") or elsewhere
        ):  # an elected one that does not take writes yet is neither
            return
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    if "setName" in hello:
        raise Unavailable(
            f"replica set {settings.replica_set!r} elected no primary in {timeout_s:g} s: start its members"
        )
    raise ConfigurationError(
        f"the data directory of mongod at {settings.hosts[0]} is not of replica set {settings.replica_set!r} "
        f"with member {member_host}: start with the name and address that it was made with, or with an empty "
        "data directory"
    )


def _create_user(local: MongoClient[Document], settings: MongoSettings) -> None:
    """Create the database user through the localhost exception, unless it can log in already."""
    if _logs_in(settings):
        return
    try:
        local.admin.command("createUser", USER, pwd=mongo_password(settings.secret), roles=["root"])
    except OperationFailure as error:
        if error.code not in (UNAUTHORIZED, USER_EXISTS):
            raise
        if not _logs_in(settings):
            raise ConfigurationError(
                f"mongod at {settings.hosts[0]} was set up with another cluster secret: start with that one "
                "(--secret-file), or with an empty data directory"
            ) from error


def _logs_in(settings: MongoSettings) -> bool:
    with _direct(settings, login(settings)) as client:
        try:
            client.admin.command("ping")
        except OperationFailure as error:
            if error.code == AUTHENTICATION_FAILED:
                return False
            raise
    return True


class MongoReplicaSet:
    """`khala.store.interface.ReplicaSetAdmin` of one replica set; owns a client of its own."""

    def __init__(self, settings: MongoSettings) -> None:
        self._client = open_client(settings)

    def members(self) -> tuple[SetMember, ...]:
        """See ReplicaSetAdmin."""
        with translated("read the replica set's status", writes=False):
            members = self._client.admin.command("replSetGetStatus")["members"]
            config = self._client.admin.command("replSetGetConfig", commitmentStatus=True)
        votes = {member["host"]: member.get("votes", 1) for member in config["config"]["members"]}
        newest = max(member["optimeDate"] for member in members if "optimeDate" in member)
        return tuple(
            SetMember(
                host=member["name"],
                voting=votes.get(member["name"], 0) > 0,
                settled=config["commitmentStatus"],
                state=member["stateStr"].lower(),
                healthy=member["health"] == 1,
                lag_s=(newest - member["optimeDate"]).total_seconds() if "optimeDate" in member else 0.0,
            )
            for member in members
        )

    def add(self, host: str) -> None:
        """See ReplicaSetAdmin."""

        def add(members: list[Document]) -> list[Document]:
            new = {"_id": max(m["_id"] for m in members) + 1, "host": host, "votes": 0, "priority": 0}
            return members if any(m["host"] == host for m in members) else [*members, new]

        self._reconfigure(f"add {host}", add)

    def give_vote(self, host: str) -> None:
        """See ReplicaSetAdmin."""

        def promote(members: list[Document]) -> list[Document]:
            return [{**m, "votes": 1, "priority": 1} if m["host"] == host else m for m in members]

        self._reconfigure(f"let {host} vote", promote)

    def step_down(self) -> None:
        """See ReplicaSetAdmin."""
        with translated("step down", writes=True):
            self._client.admin.command("replSetStepDown", STEPPED_DOWN_S, secondaryCatchUpPeriodSecs=5)

    def remove(self, host: str) -> None:
        """See ReplicaSetAdmin."""
        self._reconfigure(f"remove {host}", lambda members: [m for m in members if m["host"] != host])

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def _config(self) -> Document:
        return dict(self._client.admin.command("replSetGetConfig")["config"])

    def _reconfigure(self, doing: str, change: Callable[[list[Document]], list[Document]]) -> None:
        """Change the members; of two changes at once the set refuses the one with the older version."""
        with translated(doing, writes=True):
            config = self._config()
            config["members"] = change(config["members"])
            config["version"] += 1
            try:
                self._client.admin.command("replSetReconfig", config)
            except OperationFailure as error:
                if error.code in (UNAUTHORIZED, AUTHENTICATION_FAILED):
                    raise
                # A change under way, a member that does not answer, an address that does not go with the
                # others': whatever it is, the leader must live with it and try again.
                raise Unavailable(f"the replica set does not {doing}: {first_line(error)}") from error
