"""A real etcd cluster that grows and shrinks by learners, and those who are connected to it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from coordination.worlds import EtcdWorld, Seen, a_member
from services.processes import free_ports
from wait import wait_until

from khala.coordination.etcd_members import EtcdMembers
from khala.coordination.etcd_register import EtcdRegister
from khala.coordination.interface import Registration
from khala.errors import ConfigurationError, Unavailable
from khala.services.etcd import EtcdServer
from khala.services.native_process import NativeService, Patience


def done(act: Callable[[], object]) -> bool:
    """Whether it could be done; else etcd says to try later."""
    try:
        act()
    except Unavailable:
        return False
    return True


def joined(members: EtcdMembers, server: EtcdServer) -> NativeService:
    """Add `server`, start it, and see it vote."""
    initial: dict[str, str] = {}

    def add() -> None:
        initial.update(members.add(server.name, server.peer_url))

    wait_until(lambda: done(add), what="5 s of health")
    service = NativeService(
        replace(server, initial_cluster=initial, joining=True), patience=Patience(stop_grace_s=2)
    )
    service.start()
    wait_until(lambda: done(lambda: members.promote(server.name)), what="the vote")
    service.wait_ready(60)
    return service


def test_servers_join_and_leave_under_a_node_that_knew_only_the_first(
    own_etcd: EtcdWorld, tmp_path: Path
) -> None:
    members = EtcdMembers(lambda: [own_etcd.endpoint])
    node, seen = own_etcd.node(), Seen()
    node.start(a_member("j1"), seen)
    with ExitStack() as undo:
        servers = {"e1": own_etcd.server}
        for name in ("e2", "e3"):
            peer, client = free_ports(2)
            servers[name] = replace(
                own_etcd.server,
                directory=tmp_path / name,
                name=name,
                listen_peer_port=peer,
                listen_client_port=client,
                advertise_address="127.0.0.1",
            )
            undo.callback(joined(members, servers[name]).stop)
            wait_until(lambda name=name: done(lambda: members.promote(name)))  # again: a voter stays one
        assert set(members.names()) == {"e1", "e2", "e3"}
        for number, server in enumerate(servers.values(), start=1):
            registration = Registration(address=f"h{number}:4000", etcd_client=server.client_url)
            node.register_judicator(f"j{number}", registration)
        wait_until(lambda: len(node.view().registered) == 3)
        before = len(seen.views)

        own_etcd.service.stop()
        node.register_judicator("j1", Registration(address="moved:4000"))
        wait_until(lambda: node.view().registered["j1"].address == "moved:4000")
        assert all(view.members for view in seen.views[before:]), "it never fell out"
        rest = EtcdMembers(lambda: [own_etcd.endpoint, servers["e3"].client_url])
        wait_until(lambda: done(lambda: rest.remove("e1")), what="the removal of the dead one")
        assert not rest.remove("e1")
        assert set(rest.names()) == {"e2", "e3"}
        node.close()


def test_a_server_that_comes_again_without_its_data_takes_its_own_place(own_etcd: EtcdWorld) -> None:
    members = EtcdMembers(lambda: [own_etcd.endpoint])
    (peer,) = free_ports(1)
    url = f"http://127.0.0.1:{peer}"
    assert members.add("e2", url) == {"e1": own_etcd.server.peer_url}
    assert members.add("e2", url) == {"e1": own_etcd.server.peer_url}
    assert len(members.all()) == 2
    with pytest.raises(ConfigurationError, match=r"is the address of e1.*--etcd-advertise-address"):
        members.add("e3", own_etcd.server.peer_url)
    assert len(members.all()) == 2


def test_a_server_that_comes_again_elsewhere_is_reached_there(own_etcd: EtcdWorld) -> None:
    members = EtcdMembers(lambda: [own_etcd.endpoint])
    (peer,) = free_ports(1)
    for _ in range(2):
        members.readdress("e1", f"http://127.0.0.1:{peer}")
        members.readdress("nobody", "http://127.0.0.1:1")
        (member,) = members.all()
        assert member.peer_urls == (f"http://127.0.0.1:{peer}",)


def test_the_register_is_read_and_the_founder_chosen_before_one_is_a_member(etcd_world: EtcdWorld) -> None:
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    register = EtcdRegister([dead, etcd_world.endpoint])
    assert register.founded() == ""
    assert register.founder("h1:3000") == "h1:3000"
    assert register.founder("h2:3000") == "h1:3000"
    assert register.found("c1") == "c1"
    assert register.found("c2") == "c1"
    assert register.founded() == "c1"
    node = etcd_world.node()
    node.start(a_member("j1"), Seen())
    node.register_judicator("j1", Registration(address="h1:4000", mongod="h1:3000"))
    wait_until(lambda: "j1" in register.view().registered)
    assert register.view().registered["j1"].mongod == "h1:3000"
    with pytest.raises(Unavailable):
        EtcdRegister([dead]).view()
    with pytest.raises(Unavailable):
        EtcdRegister([]).view()
