"""One suite for every implementation of `khala.bus.interface.Bus`."""

from __future__ import annotations

import threading

import pytest
from bus.worlds import Inbox, World

from khala.bus.interface import Bus, PeerConnected, PeerDisconnected
from khala.core.messages import OutcomeSettled, StartCleared, TasksSettled
from khala.core.task import Epoch
from khala.errors import ConfigurationError


def settled(number: int) -> OutcomeSettled:
    return OutcomeSettled(task_id=f"{number:024x}", attempt=number)


def connect(world: World, dialling: Bus, *listening: tuple[str, Bus]) -> None:
    dialling.set_peers({name: world.address(bus) for name, bus in listening})
    world.until(lambda: set(dialling.peers()) >= {name for name, _ in listening}, "the peers")


def pair(world: World, **settings: int) -> tuple[Bus, Bus]:
    judicator = world.bus("j1")
    executor = world.bus("e1", "executor", listen=False, **settings)
    connect(world, executor, ("j1", judicator))
    world.until(lambda: "e1" in judicator.peers(), "e1 at j1")
    return judicator, executor


def test_local_delivery_hands_the_object_over(world: World) -> None:
    bus, inbox, message = world.bus("j1"), Inbox(), settled(1)
    bus.register("store", inbox)
    assert bus.send("j1/store", message, sender="scheduler", cause="c", deadline=5.0)
    (envelope,) = inbox.envelopes
    assert envelope.payload is message
    assert (envelope.sender, envelope.cause, envelope.deadline) == ("j1/scheduler", "c", 5.0)


def test_an_envelope_arrives_equal_but_not_the_same(world: World) -> None:
    judicator, executor = pair(world)
    inbox, message = Inbox(), StartCleared(epoch=Epoch(1, 2), incarnation="é", task_id="t", attempt=3)
    executor.register("executor", inbox)
    assert judicator.send("e1/executor", message, sender="scheduler", cause="why", deadline=9e12)
    world.until(lambda: inbox.envelopes)
    (envelope,) = inbox.envelopes
    assert envelope.payload == message
    assert envelope.payload is not message
    assert (envelope.sender, envelope.destination) == ("j1/scheduler", "e1/executor")
    assert (envelope.cause, envelope.deadline) == ("why", 9e12)


def test_a_reply_goes_back_with_its_cause(world: World) -> None:
    judicator, executor = pair(world)
    asked, answered = Inbox(), Inbox()
    judicator.register("scheduler", asked)
    executor.register("executor", answered)
    assert executor.send("j1/scheduler", settled(1), sender="executor")
    world.until(lambda: asked.envelopes)
    assert judicator.reply(asked.envelopes[0], settled(2))
    world.until(lambda: answered.envelopes)
    assert answered.payloads == [settled(2)]
    assert answered.envelopes[0].cause == asked.envelopes[0].id
    assert answered.envelopes[0].sender == "j1/scheduler"


def test_many_envelopes_arrive_once_and_in_order(world: World) -> None:
    judicator, executor = pair(world)
    inbox = Inbox()
    judicator.register("scheduler", inbox)
    for number in range(5000):
        assert executor.send("j1/scheduler", settled(number))
    world.until(lambda: len(inbox.envelopes) >= 5000)
    assert inbox.payloads == [settled(number) for number in range(5000)]
    assert len({envelope.id for envelope in inbox.envelopes}) == 5000
    assert judicator.stats().received == executor.stats().sent == 5000


def test_big_messages_travel(world: World) -> None:
    judicator, executor = pair(world)
    inbox = Inbox()
    judicator.register("scheduler", inbox)
    big = TasksSettled(task_ids=tuple(f"{number:024x}" for number in range(100_000)))
    for _ in range(4):
        assert executor.send("j1/scheduler", big)
    world.until(lambda: len(inbox.envelopes) == 4)
    assert inbox.payloads == [big] * 4


def test_nobody_there_is_a_dead_letter(world: World) -> None:
    judicator, executor = pair(world)
    assert not judicator.send("j1/nobody", settled(1))
    assert not judicator.send("elsewhere/store", settled(1))
    assert not judicator.send("leader/scheduler", settled(1))
    assert not judicator.send("", settled(1))
    assert judicator.stats().dead_letters == 4
    assert executor.send("j1/nobody", settled(1))
    world.until(lambda: judicator.stats().dead_letters == 5)


def test_what_cannot_travel_is_a_dead_letter(world: World) -> None:
    _, executor = pair(world)
    assert not executor.send("j1/scheduler", object())
    assert not executor.send("j1/scheduler", OutcomeSettled(task_id="\ud800", attempt=1))
    assert not executor.send("j1/scheduler", OutcomeSettled(task_id="t", attempt=2**63))
    assert not executor.send("j1/scheduler", TasksSettled(task_ids=("x" * 9_000_000,)))
    assert executor.stats().dead_letters == 4


def test_unregister_and_replace(world: World) -> None:
    bus, first, second = world.bus("j1"), Inbox(), Inbox()
    bus.register("store", first)
    bus.register("store", second)
    assert bus.send("j1/store", settled(1))
    bus.unregister("store")
    bus.unregister("store")
    assert not bus.send("j1/store", settled(2))
    assert (first.payloads, second.payloads) == ([], [settled(1)])


def test_a_failing_mailbox_harms_nobody(world: World) -> None:
    judicator, executor = pair(world)
    inbox = Inbox()

    def fail(envelope: object) -> None:
        raise ZeroDivisionError

    judicator.register("broken", fail)
    judicator.register("store", inbox)
    assert executor.send("j1/broken", settled(1))
    assert executor.send("j1/store", settled(2))
    world.until(lambda: inbox.envelopes)
    assert judicator.stats().callback_errors == 1
    assert not judicator.send("j1/broken", settled(3))
    assert judicator.stats().callback_errors == 2


def test_peers_come_and_go(world: World) -> None:
    judicator = world.bus("j1")
    events: list[object] = []
    forget = judicator.on_peer(events.append)
    executor = world.bus("e1", "executor", listen=False)
    connect(world, executor, ("j1", judicator))
    world.until(lambda: events)
    (connected,) = events
    assert isinstance(connected, PeerConnected)
    assert (connected.node, connected.role) == ("e1", "executor")
    assert judicator.peers()["e1"].incarnation == connected.incarnation
    assert executor.peers()["j1"].role == "judicator"
    executor.close(1.0)
    world.until(lambda: len(events) == 2)
    assert isinstance(events[1], PeerDisconnected)
    assert not judicator.send("e1/executor", settled(1))
    forget()
    again = world.bus("e1", "executor", listen=False)
    connect(world, again, ("j1", judicator))
    world.until(lambda: "e1" in judicator.peers())
    assert len(events) == 2


def test_a_new_start_of_a_node_takes_the_old_ones_place(world: World) -> None:
    judicator, old = pair(world)
    events: list[PeerConnected | PeerDisconnected] = []
    judicator.on_peer(events.append)
    before = judicator.peers()["e1"].incarnation
    new = world.bus("e1", "executor", listen=False)
    old.set_peers({})
    connect(world, new, ("j1", judicator))
    world.until(lambda: judicator.peers().get("e1") and judicator.peers()["e1"].incarnation != before)
    world.until(lambda: len(events) >= 2, "both to be told")  # which is after both can be seen
    assert [type(event) for event in events] == [PeerDisconnected, PeerConnected]
    assert [event.incarnation for event in events] == [before, judicator.peers()["e1"].incarnation]
    inbox = Inbox()
    new.register("executor", inbox)
    assert judicator.send("e1/executor", settled(1))
    world.until(lambda: inbox.envelopes)


def test_a_wanted_peer_is_waited_for_within_bounds(world: World) -> None:
    executor = world.bus("e1", "executor", listen=False, outbox_envelopes=10)
    judicator, inbox = world.bus("j1"), Inbox()
    judicator.register("scheduler", inbox)
    address = world.address(judicator)
    judicator.close(1.0)
    executor.set_peers({"j1": address if address != "memory:1" else "memory:0"})
    for number in range(10):
        assert executor.send("j1/scheduler", settled(number))
    assert not executor.send("j1/scheduler", settled(10))
    stats = executor.stats()
    assert (stats.outbox_refused, stats.dead_letters, stats.queued_envelopes) == (1, 1, 10)
    judicator = world.bus("j1")
    judicator.register("scheduler", inbox)
    executor.set_peers({"j1": world.address(judicator)})
    world.until(lambda: len(inbox.envelopes) == 10)
    assert inbox.payloads == [settled(number) for number in range(10)]
    assert executor.send("j1/scheduler", settled(11))


def test_an_outbox_is_bounded_in_bytes(world: World) -> None:
    executor = world.bus("e1", "executor", listen=False, outbox_bytes=10_000)
    executor.set_peers({"j1": "127.0.0.1:1"})
    big = TasksSettled(task_ids=("x" * 4000,))
    assert [executor.send("j1/s", big) for _ in range(4)] == [True, True, False, False]
    assert executor.stats().queued_bytes < 10_000


def test_a_peer_that_is_no_longer_wanted_is_left(world: World) -> None:
    judicator, executor = pair(world)
    executor.set_peers({})
    world.until(lambda: not executor.peers() and not judicator.peers())
    assert not executor.send("j1/scheduler", settled(1))


def test_the_leaders_address_follows_the_leader(world: World) -> None:
    j1, j2, executor = world.bus("j1"), world.bus("j2"), world.bus("e1", "executor", listen=False)
    connect(world, executor, ("j1", j1), ("j2", j2))
    inboxes = {"j1": Inbox(), "j2": Inbox()}
    for name, bus in (("j1", j1), ("j2", j2)):
        bus.register("scheduler", inboxes[name])
    for number, leader in enumerate(("j1", "j2")):
        for bus in (j1, j2, executor):
            bus.set_leader(leader)
        assert executor.send("leader/scheduler", settled(number))
        world.until(lambda leader=leader: inboxes[leader].envelopes)
    assert [inbox.payloads for inbox in inboxes.values()] == [[settled(0)], [settled(1)]]
    assert j2.send("leader/scheduler", settled(2))
    assert inboxes["j2"].payloads[-1] == settled(2)


def three(world: World) -> tuple[Bus, Bus, Bus]:
    """e1 dials only j2; j2 dials j1."""
    j1, j2, executor = world.bus("j1"), world.bus("j2"), world.bus("e1", "executor", listen=False)
    connect(world, executor, ("j2", j2))
    connect(world, j2, ("j1", j1))
    world.until(lambda: "j2" in j1.peers() and "e1" in j2.peers())
    return j1, j2, executor


def test_a_judicator_relays_to_the_leader_and_the_answer_comes_back(world: World) -> None:
    j1, j2, executor = three(world)
    asked, answered = Inbox(), Inbox()
    j1.register("scheduler", asked)
    executor.register("executor", answered)
    for bus in (j1, j2, executor):
        bus.set_leader("j1")
    assert executor.send("leader/scheduler", settled(1), sender="executor")
    world.until(lambda: asked.envelopes)
    assert asked.envelopes[0].sender == "e1/executor"
    assert j1.reply(asked.envelopes[0], settled(2))
    world.until(lambda: answered.envelopes)
    assert answered.payloads == [settled(2)]
    world.until(lambda: j2.stats().relayed == 2, "both to be counted")  # which is after they are sent


def test_an_envelope_is_never_relayed_twice(world: World) -> None:
    j1, j2, executor = three(world)
    j0 = world.bus("j0")
    connect(world, j1, ("j0", j0))
    inbox = Inbox()
    j0.register("scheduler", inbox)
    executor.set_leader("j0")
    j2.set_leader("j1")  # j2 believes in j1, who knows better
    j1.set_leader("j0")
    assert executor.send("leader/scheduler", settled(1))
    world.until(lambda: j1.stats().dead_letters == 1)
    world.until(lambda: j2.stats().relayed == 1)
    assert (j1.stats().relayed, inbox.envelopes) == (0, [])


def test_only_a_judicator_relays(world: World) -> None:
    judicator, executor = pair(world)
    executor.set_leader("j9")
    assert judicator.send("e1/executor", settled(1))
    world.until(lambda: executor.stats().dead_letters == 1)
    judicator.set_leader("e1")
    assert judicator.send("leader/scheduler", settled(2))
    world.until(lambda: executor.stats().dead_letters == 2)
    assert executor.stats().relayed == 0


def test_only_a_judicator_brings_what_others_sent(world: World) -> None:
    judicator, executor = pair(world)
    inbox = Inbox()
    judicator.register("scheduler", inbox)
    assert executor.send("j1/scheduler", settled(1), sender="e2/executor")
    world.until(lambda: judicator.stats().misaddressed == 1)
    assert inbox.envelopes == []


@pytest.mark.parametrize(
    ("secret", "says"), [(b"wrong", "secret is not this cluster's"), (None, "has no secret")]
)
def test_without_the_secret_nobody_gets_in(world: World, secret: bytes | None, says: str) -> None:
    judicator = world.bus("j1")
    stranger = world.bus("e1", "executor", listen=False, secret=secret)
    stranger.set_peers({"j1": world.address(judicator)})
    world.until(lambda: says in stranger.stats().peer_errors.get("j1", ""))
    assert not judicator.peers()
    assert not stranger.peers()


def test_a_secured_node_refuses_an_open_judicator(world: World) -> None:
    judicator = world.bus("j1", secret=None)
    executor = world.bus("e1", "executor", listen=False)
    executor.set_peers({"j1": world.address(judicator)})
    world.until(lambda: "without a secret" in executor.stats().peer_errors.get("j1", ""))
    assert not judicator.peers()


def test_an_open_cluster_works(world: World) -> None:
    judicator = world.bus("j1", secret=None)
    executor = world.bus("e1", "executor", listen=False, secret=None)
    connect(world, executor, ("j1", judicator))


def test_another_clusters_node_is_refused(world: World) -> None:
    judicator = world.bus("j1", cluster_id="one")
    executor = world.bus("e1", "executor", listen=False, cluster_id="two")
    executor.set_peers({"j1": world.address(judicator)})
    world.until(lambda: "belongs to cluster" in executor.stats().peer_errors.get("j1", ""))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "leader", "rpc", "x" * 201, "a\n"])
def test_a_bad_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a node"):
        world.bus(name)
    with pytest.raises(ConfigurationError, match="cannot name a node"):
        world.bus("j1").set_peers({name: "127.0.0.1:1"})


def test_a_closed_bus_sends_nothing(world: World) -> None:
    bus, inbox = world.bus("j1"), Inbox()
    bus.register("store", inbox)
    bus.close(1.0)
    bus.close(1.0)
    assert not bus.send("j1/store", settled(1))
    assert inbox.envelopes == []


def test_threads_may_send_at_once(world: World) -> None:
    judicator, executor = pair(world)
    inbox = Inbox()
    judicator.register("scheduler", inbox)

    def send(first: int) -> None:
        for number in range(first, first + 500):
            assert executor.send("j1/scheduler", settled(number))

    threads = [threading.Thread(target=send, args=(start * 500,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.until(lambda: len(inbox.envelopes) == 2000)
    assert {payload.attempt for payload in inbox.payloads} == set(range(2000))  # type: ignore[attr-defined]
