"""What only a bus with sockets can do: dial again, notice silence, name its port."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from bus.worlds import Inbox, ThriftWorld, make_settings
from wait import wait_until

from khala.bus.bus import ThriftBus
from khala.bus.dialer import resolve, split_host_port
from khala.core.messages import OutcomeSettled
from khala.errors import ConfigurationError

QUICK = {"idle_timeout_s": 10.0, "keep_alive_s": 0.1}


def settled(number: int) -> OutcomeSettled:
    return OutcomeSettled(task_id="t", attempt=number)


@pytest.fixture
def wall() -> Iterator[socket.socket]:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_a_port_in_use_is_a_clear_error(wall: socket.socket) -> None:
    settings = make_settings("j1", "judicator", listen=False, incarnation="1")
    taken = ThriftBus(type(settings)(node="j1", role="judicator", incarnation="1", listen=wall.getsockname()))
    with pytest.raises(ConfigurationError, match="choose another port"):
        taken.start()
    taken.close()


def test_it_dials_again_after_a_restart(thrift_world: ThriftWorld) -> None:
    judicator = thrift_world.bus("j1")
    port = judicator.listen_port
    executor = thrift_world.bus("e1", "executor", listen=False)
    executor.set_peers({"j1": f"localhost:{port}"})
    wait_until(executor.peers)
    judicator.close()
    wait_until(lambda: not executor.peers())
    again = ThriftBus(
        type(judicator._settings)(
            node="j1",
            role="judicator",
            incarnation="9",
            secret=b"a secret of the tests",
            listen=("127.0.0.1", port),
        )
    )
    again.start()
    wait_until(lambda: executor.peers() and executor.peers()["j1"].incarnation == "9")
    again.close()


def test_a_wrong_name_at_an_address_is_refused(thrift_world: ThriftWorld) -> None:
    judicator = thrift_world.bus("j1")
    executor = thrift_world.bus("e1", "executor", listen=False)
    executor.set_peers({"j2": thrift_world.address(judicator)})
    wait_until(lambda: "'j1', not 'j2'" in executor.stats().peer_errors.get("j2", ""))
    executor.set_peers({"j1": thrift_world.address(judicator)})
    wait_until(executor.peers)


def test_quiet_peers_stay_connected(thrift_world: ThriftWorld) -> None:
    judicator = thrift_world.bus("j1", **QUICK)
    executor = thrift_world.bus("e1", "executor", listen=False, **QUICK)
    events: list[object] = []
    judicator.on_peer(events.append)
    executor.set_peers({"j1": thrift_world.address(judicator)})
    wait_until(executor.peers)
    with pytest.raises(AssertionError, match="waited"):
        wait_until(lambda: len(events) > 1, timeout_s=11.0)
    assert judicator.stats().timed_out_connections == 0


def test_a_silent_address_is_given_up_and_tried_again(thrift_world: ThriftWorld, wall: socket.socket) -> None:
    executor = thrift_world.bus("e1", "executor", listen=False, hello_timeout_s=0.2)
    executor.set_peers({"j1": f"127.0.0.1:{wall.getsockname()[1]}"})
    wait_until(lambda: executor.stats().timed_out_connections >= 2)
    assert "no hello" in executor.stats().peer_errors["j1"]


def test_an_unknown_host_is_told(thrift_world: ThriftWorld) -> None:
    executor = thrift_world.bus("e1", "executor", listen=False)
    executor.set_peers({"j1": "no-such-host.invalid:4000", "j2": "nonsense"})
    wait_until(lambda: set(executor.stats().peer_errors) == {"j1", "j2"})
    assert "not host:port" in executor.stats().peer_errors["j2"]


def test_what_is_queued_is_sent_before_the_end(thrift_world: ThriftWorld) -> None:
    judicator, inbox = thrift_world.bus("j1"), Inbox()
    judicator.register("store", inbox)
    executor = thrift_world.bus("e1", "executor", listen=False)
    executor.set_peers({"j1": thrift_world.address(judicator)})
    wait_until(executor.peers)
    for number in range(3000):
        executor.send("j1/store", settled(number))
    executor.close(5.0)
    wait_until(lambda: len(inbox.envelopes) == 3000)


def test_what_waits_past_its_deadline_is_dropped(thrift_world: ThriftWorld) -> None:
    executor = thrift_world.bus("e1", "executor", listen=False)
    executor.set_peers({"j1": "127.0.0.1:1"})
    assert executor.send("j1/store", settled(1), deadline=1.0)
    assert executor.send("j1/store", settled(2), deadline=9e12)
    judicator, inbox = thrift_world.bus("j1"), Inbox()
    judicator.register("store", inbox)
    executor.set_peers({"j1": thrift_world.address(judicator)})
    wait_until(lambda: inbox.envelopes)
    assert inbox.payloads == [settled(2)]
    assert (executor.stats().expired, executor.stats().dead_letters) == (1, 1)


def test_a_node_with_our_own_name_is_turned_away(thrift_world: ThriftWorld) -> None:
    judicator = thrift_world.bus("j1")
    twin = thrift_world.bus("j1", "executor", listen=False)
    other = thrift_world.bus("e1", "executor", listen=False)
    twin._peering.want({"j1": thrift_world.address(judicator)})
    other.set_peers({"j1": thrift_world.address(judicator)})
    wait_until(other.peers)
    wait_until(lambda: not twin.peers() and "j1" not in judicator.peers())


def test_both_may_dial_each_other_and_one_connection_stays(thrift_world: ThriftWorld) -> None:
    j1, j2 = thrift_world.bus("j1"), thrift_world.bus("j2")
    j1.set_peers({"j2": thrift_world.address(j2)})
    j2.set_peers({"j1": thrift_world.address(j1)})
    inbox = Inbox()
    j2.register("store", inbox)

    def steady() -> bool:
        return all(
            (bus.stats().connections, tuple(bus.peers())) == (1, (name,))
            for bus, name in ((j1, "j2"), (j2, "j1"))
        )

    wait_until(steady)
    assert j1.send("j2/store", settled(1))
    wait_until(lambda: inbox.envelopes)


@pytest.mark.parametrize("text", ["", ":1", "host", "host:", "host:x", "host:0", "host:65536", "host:-1"])
def test_addresses_are_checked(text: str) -> None:
    with pytest.raises(OSError, match="not host:port"):
        split_host_port(text)


def test_addresses_of_both_families_are_read() -> None:
    assert split_host_port("[::1]:4000") == ("::1", 4000)
    assert resolve("127.0.0.1:4000") == [(socket.AF_INET, ("127.0.0.1", 4000))]
