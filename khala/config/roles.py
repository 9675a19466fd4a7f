"""The settings of the three roles: every flag of the command line as a typed field.

Values only. They are made by `khala.config.resolve`, which fills in what is worked out from the
host, so that a role sees no `DOCKER`, no `ENV` and no empty name. Ports are TCP ports, intervals
seconds, sizes bytes. A name that KV2 used keeps its name and its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from khala.config.flags import Kind, setting

_RUN_AS = "A user to become, if started as root, once the settings are read."
_NO_PROXY = "no node runs an etcd proxy any more"
_NO_STRICT = "etcd is always strict about reconfiguration"
_NO_ETCD_HERE = "only a judicator runs etcd now"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleConfig:
    """What every role is told."""

    main_name: str = setting("", "Name of this node; ENV takes $NAME.", Kind.NAME, shown="host name")
    data_dir: Path = setting(
        Path(), "Where this node keeps its data.", Kind.PATH, shown="~/.local/share/khala-ROLE"
    )
    secret: str = setting("", "The cluster's secret; better in a file (ps shows flags).", secret=True)
    secret_file: Path | None = setting(None, "A file that holds the cluster's secret.", Kind.PATH)
    auth: str = setting(
        "",
        "Who may call: who has a token, or anybody.",
        choices=("token", "none"),
        shown="token if there is a secret, else none",
    )
    stop_within: float = setting(
        10.0,
        "How long after SIGTERM tasks, requests and a judicator's leaving may go on.",
        Kind.SECONDS,
    )
    health_file: Path = setting(
        Path(), "A file that is touched every 2 s while this node works.", Kind.PATH, shown="none"
    )
    docker_sock: str = setting("unix:///var/run/docker.sock", "Docker's socket, asked for DOCKER values.")
    retry_times: int = setting(3, "How often a key operation at start is tried again.", Kind.COUNT)
    retry_interval: float = setting(5.0, "Time between such tries.", Kind.SECONDS)
    boot_check_interval: float = setting(30.0, "Time between health checks of own services.", Kind.SECONDS)
    boot_print_log: bool = setting(False, "Log the node's start and its services' health.", Kind.SWITCH)
    main_print_log: bool = setting(False, "Log the node's own work in detail.", Kind.SWITCH)
    etcd_cluster_join_member_client: str = setting(
        "",
        "Client URLs, with commas, of etcd members of the cluster to join; overrides the init flags.",
        Kind.URL,
    )
    etcd_cluster_service: str = setting(
        "", "DNS name of a service whose addresses are judicators; overrides the join flag."
    )
    etcd_cluster_service_port: int = setting(2001, "Client port of etcd behind that service.", Kind.PORT)
    etcd_proxy: str = setting("", "", ignored=_NO_PROXY)
    etcd_strict_reconfig: bool = setting(False, "", Kind.SWITCH, ignored=_NO_STRICT)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutEtcd(RoleConfig):
    """The flags of KV2's executors and gateways that are still accepted and mean nothing now."""

    etcd_exe: str = setting("", "", ignored=_NO_ETCD_HERE)
    etcd_name: str = setting("", "", ignored=_NO_ETCD_HERE)
    etcd_print_log: bool = setting(False, "", Kind.SWITCH, ignored=_NO_ETCD_HERE)
    etcd_listen_peer_port: str = setting("", "", ignored=_NO_ETCD_HERE)
    etcd_listen_client_port: str = setting("", "", ignored=_NO_ETCD_HERE)
    etcd_advertise_peer_port: str = setting("", "", ignored=_NO_ETCD_HERE)
    etcd_advertise_client_port: str = setting("", "", ignored=_NO_ETCD_HERE)
    etcd_cluster_init_discovery: str = setting("", "", ignored=_NO_ETCD_HERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudicatorConfig(RoleConfig):
    """What a judicator is told. Without a cluster to join it starts one of its own."""

    run_as: str = setting("", _RUN_AS)
    etcd_exe: str = setting("", "The etcd program.", shown="found on PATH or in khala[local]")
    etcd_name: str = setting("", "Name of the etcd member; ENV takes $NAME.", Kind.NAME, shown="main name")
    etcd_print_log: bool = setting(False, "Print etcd's log.", Kind.SWITCH)
    etcd_listen_address: str = setting("0.0.0.0", "Address that etcd listens on.", Kind.ADDRESS)
    etcd_listen_peer_port: int = setting(2000, "Port that etcd listens on for its peers.", Kind.PORT)
    etcd_listen_client_port: int = setting(2001, "Port that etcd listens on for clients.", Kind.PORT)
    etcd_advertise_address: str = setting("localhost", "Address told to others for etcd.", Kind.ADDRESS)
    etcd_advertise_peer_port: int = setting(
        0, "Peer port told to others.", Kind.ADVERTISED_PORT, shown="the listen port"
    )
    etcd_advertise_client_port: int = setting(
        0, "Client port told to others.", Kind.ADVERTISED_PORT, shown="the listen port"
    )
    etcd_cluster_init_independent: bool = setting(
        False, "Start a new cluster of one; overrides the other init flags.", Kind.SWITCH
    )
    etcd_cluster_init_member: str = setting(
        "", "Members of a new cluster, NAME=PEER-URL,…; overrides the discovery flag."
    )
    etcd_cluster_init_discovery: str = setting("", "Discovery URL of a new etcd cluster.", Kind.URL)
    mongodb_exe: str = setting("", "The mongod program.", shown="found on PATH or in khala[local]")
    mongodb_name: str = setting("", "Name of the mongod; ENV takes $NAME.", Kind.NAME, shown="main name")
    mongodb_listen_address: str = setting("0.0.0.0", "Address that mongod listens on.", Kind.ADDRESS)
    mongodb_listen_port: int = setting(3000, "Port that mongod listens on.", Kind.PORT)
    mongodb_advertise_address: str = setting("localhost", "Address told to others for mongod.", Kind.ADDRESS)
    mongodb_advertise_port: int = setting(
        0, "Port of mongod told to others.", Kind.ADVERTISED_PORT, shown="the listen port"
    )
    mongodb_replica_set: str = setting("rs", "Name of the replica set.", Kind.NAME)
    mongodb_print_log: bool = setting(False, "Print mongod's log.", Kind.SWITCH)
    recover: bool = setting(
        False,
        "Make a cluster of one out of this survivor, when the majority is lost for good, and end.",
        Kind.SWITCH,
    )
    main_listen_address: str = setting("0.0.0.0", "Address that bus and RPC listen on.", Kind.ADDRESS)
    main_listen_port: int = setting(4000, "Port that bus and RPC listen on.", Kind.PORT)
    main_advertise_address: str = setting(
        "localhost", "Address told to others for bus and RPC.", Kind.ADDRESS
    )
    main_advertise_port: int = setting(
        0, "Port of bus and RPC told to others.", Kind.ADVERTISED_PORT, shown="the listen port"
    )
    leave_at_stop: bool = setting(
        True,
        "At SIGTERM leave the cluster for good, if the others go on; =false stays a member.",
        Kind.SWITCH,
        shown="true",
    )
    remove_missing_after: float = setting(
        600.0,
        "After how long a missing judicator is removed, where the cluster then survives more losses; "
        "0 is never.",
        Kind.SECONDS,
    )
    keep_finished: float = setting(
        30 * 86_400.0,
        "How long tasks and jobs are kept after their end, with their output; 0 is for ever.",
        Kind.SECONDS,
    )
    keep_keys: float = setting(
        7 * 86_400.0,
        "How long the idempotency key of a task that was purged stays known after that; 0 is for ever.",
        Kind.SECONDS,
    )
    keep_files: float = setting(
        7 * 86_400.0,
        "How long a file that no task or job refers to is kept after its last use; 0 is for ever.",
        Kind.SECONDS,
    )
    keep_audit: float = setting(
        365 * 86_400.0,
        "How long the record of who did what is kept (100,000 entries at most); 0 is for ever.",
        Kind.SECONDS,
    )
    main_first_token_digest: str = setting(
        "", "SHA-256 of the administrator's token to store if the cluster has no token yet.", Kind.DIGEST
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig(WithoutEtcd):
    """What an executor is told."""

    main_task_vacant: int = setting(0, "How many tasks run at once (slots).", Kind.COUNT, shown="CPUs here")
    cpus: float = setting(0.0, "CPUs offered to tasks.", Kind.NUMBER, shown="all that this node may use")
    memory: int = setting(
        0, "Memory offered to tasks, as 512M or 8G.", Kind.SIZE, shown="all that this node may use"
    )
    label: Mapping[str, str] = setting({}, "A label for placement, k=v; may be repeated.", Kind.PAIRS)
    main_report_interval: float = setting(1.0, "Time between reports to the leader.", Kind.SECONDS)
    main_task_user_group: str = setting(
        "", "USER:GROUP that tasks run as.", shown="a user of its own per slot if root, else the own user"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig(WithoutEtcd):
    """What a gateway is told. Sanic serves; the flags keep their old names."""

    run_as: str = setting("", _RUN_AS)
    uwsgi_host: str = setting("0.0.0.0", "Address that HTTP is served on.", Kind.ADDRESS)
    uwsgi_port: int = setting(7000, "Port that HTTP is served on.", Kind.PORT)
    allowed_hosts: str = setting(
        "", "Names, with commas, by which browsers reach this gateway; needed under --auth=none only."
    )
    uwsgi_processes: int = setting(4, "How many worker processes serve.", Kind.COUNT)
    uwsgi_threads: int = setting(2, "", Kind.COUNT, ignored="a Sanic worker needs no threads")
    uwsgi_print_log: bool = setting(False, "Print the access log.", Kind.SWITCH)


ROLES: Mapping[str, type[RoleConfig]] = {
    "judicator": JudicatorConfig,
    "executor": ExecutorConfig,
    "gateway": GatewayConfig,
}
