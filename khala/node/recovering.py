"""`khala judicator --recover`: a cluster of one out of a survivor, when the majority is lost for good.

Run once, by an operator who knows that the other judicators will not come back; it ends when it is done,
so that a forgotten flag recovers nothing a second time. In this order, so that it can be run again wherever
it was interrupted: the replica set, the generation (P4), etcd. Runs in the command's own thread.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from khala.config import JudicatorConfig
from khala.coordination.etcd_lost import forget_lost
from khala.errors import ConfigurationError, Refusal, Unavailable
from khala.node.known_judicators import KnownJudicators
from khala.node.lifetime import read_clocks, set_up_logging
from khala.node.native import etcd_server, mongod_server, native_service, own_etcd
from khala.services.etcd import EtcdServer
from khala.services.ports import accepts
from khala.store.mongo.client import MongoSettings
from khala.store.mongo.recovery import SurvivingMember, Survivor

READY_WITHIN_S = 60.0
MEMBERS_WITHIN_S = 15.0
PROBES, PROBE_S = 3, 2.0
POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was done. `etcd_aside` is where etcd's data went, if they were of no use."""

    survivor: Survivor
    generation: int
    etcd_aside: str = ""


def run(config: JudicatorConfig) -> int:
    """Recover, and say what was done and what may be lacking.

    Raises Refusal while another member answers (nothing is changed then), ConfigurationError for data that
    are no survivor's, Unavailable when a server does not come up; it may be run again.
    """
    set_up_logging(verbose=config.main_print_log or config.boot_print_log)
    for line in told(recover(config)):
        print(f"khala judicator: {line}", flush=True)  # noqa: T201
    return 0


def recover(config: JudicatorConfig) -> Recovered:
    """See `run`."""
    if not (config.data_dir / "mongodb").exists():
        raise ConfigurationError(f"{config.data_dir} has no judicator's data: give the survivor's --data-dir")
    settings = MongoSettings(
        hosts=(f"127.0.0.1:{config.mongodb_listen_port}",),
        replica_set=config.mongodb_replica_set,
        secret=config.secret,
    )
    etcd = etcd_server(config)
    with ExitStack() as stack:
        mongod = native_service(mongod_server(config), print_log=config.mongodb_print_log)
        stack.callback(mongod.stop)
        mongod.start()
        mongod.wait_ready(READY_WITHIN_S)
        member = stack.enter_context(closing(SurvivingMember(settings)))
        survivor = member.look(READY_WITHIN_S)
        _demand_silence([*survivor.others, *_other_etcds(config, etcd)])
        member.stand_alone(survivor, READY_WITHIN_S)
        generation = member.begin_generation(int(read_clocks().unix_s))
        aside = _recover_etcd(config, etcd)
        KnownJudicators(config.data_dir, config.main_name).forget_others()
    return Recovered(survivor=survivor, generation=generation, etcd_aside=aside)


def told(recovered: Recovered) -> list[str]:
    """What the operator must know, a line each."""
    survivor = recovered.survivor
    sure, last = _moment(survivor.sure_until), _moment(survivor.has_until)
    lines = [
        f"{survivor.host} is a cluster of one now, with generation {recovered.generation}",
        f"every write that was acknowledged until {sure} is in it; its own last write is of {last}",
        f"a write that was acknowledged after {sure} by the others alone is lost; compare with what your "
        "clients were told since",
    ]
    if survivor.others:
        lines.append(
            f"lost: {', '.join(survivor.others)}; never start them with their old data: move it aside first"
        )
    if recovered.etcd_aside:
        lines.append(f"etcd's data could not be used and lie in {recovered.etcd_aside}; it begins anew")
    return [*lines, "start this judicator as before, without --recover"]


def _demand_silence(others: list[str]) -> None:
    """Refusal if anybody accepts connections where the other members were; a few tries each."""
    for _ in range(PROBES):
        alive = [other for other in dict.fromkeys(others) if accepts(*_split(other), PROBE_S)]
        if alive:
            raise Refusal(
                f"others of this cluster still answer: {', '.join(alive)}; nothing was changed. With a "
                "majority of them start this judicator without --recover; to go on without them, end them",
                code="conflict",
            )


def _other_etcds(config: JudicatorConfig, server: EtcdServer) -> list[str]:
    """The peer addresses of the other members that this etcd's data name; none when they are of no use."""
    if not server.files().data.exists():
        return []
    service = native_service(server, print_log=config.etcd_print_log)
    service.start()
    try:
        give_up_at = time.monotonic() + MEMBERS_WITHIN_S
        while (urls := server.known_members(PROBE_S)) is None and time.monotonic() < give_up_at:
            time.sleep(POLL_S)
    finally:
        service.stop()
    return [urlsplit(url).netloc for url in urls or () if url != server.peer_url]


def _recover_etcd(config: JudicatorConfig, server: EtcdServer) -> str:
    """Throw the lost members out of etcd's data, or begin them anew; where the old data went then."""
    endpoint, secret = own_etcd(config), config.secret.encode() or None
    had_data = server.files().data.exists()
    if had_data and _serves(
        config,
        dataclasses.replace(server, force_new_cluster=True),
        lambda: forget_lost(endpoint, config.main_name, secret=secret),
    ):
        return ""
    aside = server.files().set_aside() if had_data else None
    if not _serves(config, server, lambda: None):
        raise Unavailable(f"an etcd without any data does not start: see {server.files().log}")
    return str(aside or "")


def _serves(config: JudicatorConfig, server: EtcdServer, then: Callable[[], object]) -> bool:
    """Run it once, alone, and do `then` while it serves; false if it does not come to that."""
    service = native_service(server, print_log=config.etcd_print_log)
    service.start()
    try:
        service.wait_ready(READY_WITHIN_S)
    except (ConfigurationError, Unavailable):
        return False
    else:
        then()
        return True
    finally:
        service.stop()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _moment(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")
