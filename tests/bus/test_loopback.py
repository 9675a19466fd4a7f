"""The loopback's own part: faults by plan, the same for the same seed."""

from __future__ import annotations

import pytest
from bus.worlds import Inbox, make_settings
from wait import wait_until

from khala.bus.loopback import LoopbackBus
from khala.bus.loopback_network import FaultPlan, LoopbackNetwork, LoopbackPump
from khala.core.messages import OutcomeSettled


def settled(number: int) -> OutcomeSettled:
    return OutcomeSettled(task_id="t", attempt=number)


def network_of(
    *names: str, seed: int = 1, plan: FaultPlan | None = None
) -> tuple[LoopbackNetwork, dict[str, LoopbackBus]]:
    """Buses that all dial each other."""
    network = LoopbackNetwork(seed=seed, plan=plan)
    buses = {
        name: LoopbackBus(network, make_settings(name, "judicator", listen=False, incarnation="1"))
        for name in names
    }
    for bus in buses.values():
        bus.start()
        bus.set_peers(dict.fromkeys(names, "memory:1"))
    network.pump()
    return network, buses


def run(seed: int, plan: FaultPlan) -> list[int]:
    network, buses = network_of("a", "b", seed=seed, plan=plan)
    inbox = Inbox()
    buses["b"].register("sink", inbox)
    for number in range(300):
        assert buses["a"].send("b/sink", settled(number))
        network.advance(0.01)
    network.settle()
    return [payload.attempt for payload in inbox.payloads]  # type: ignore[attr-defined]


def test_the_same_seed_gives_the_same_history() -> None:
    plan = FaultPlan(drop=0.2, duplicate=0.2, delay_s=(0.0, 0.1))
    assert run(7, plan) == run(7, plan)
    assert run(7, plan) != run(8, plan)


def test_each_fault_does_what_it_says() -> None:
    everything = list(range(300))
    assert run(1, FaultPlan()) == everything
    assert 180 < len(run(1, FaultPlan(drop=0.3))) < 240
    assert run(1, FaultPlan(drop=1.0)) == []
    assert run(1, FaultPlan(duplicate=1.0)) == sorted(everything * 2)
    late = run(1, FaultPlan(delay_s=(0.0, 0.1)))
    assert late != everything
    assert sorted(late) == everything


def test_a_delay_is_kept() -> None:
    network, buses = network_of("a", "b", plan=FaultPlan(delay_s=(1.0, 2.0)))
    inbox = Inbox()
    buses["b"].register("sink", inbox)
    buses["a"].send("b/sink", settled(1))
    network.advance(0.99)
    assert inbox.envelopes == []
    network.advance(1.01)
    assert inbox.payloads == [settled(1)]


def test_cut_nodes_part_and_meet_again() -> None:
    network, buses = network_of("a", "b")
    inbox = Inbox()
    buses["b"].register("sink", inbox)
    network.cut("b", "a")
    network.pump()
    assert not buses["a"].peers()
    assert buses["a"].send("b/sink", settled(1))
    network.settle()
    assert inbox.envelopes == []
    network.heal("a", "b")
    network.settle()
    assert inbox.payloads == [settled(1)]


def test_a_cut_between_two_is_relayed_around() -> None:
    network, buses = network_of("a", "b", "c")
    asked, answered = Inbox(), Inbox()
    buses["b"].register("sink", asked)
    buses["a"].register("source", answered)
    network.cut("a", "b")
    network.pump()
    assert buses["a"].send("b/sink", settled(1), sender="source")
    network.settle()
    assert asked.payloads == [settled(1)]
    assert buses["b"].reply(asked.envelopes[0], settled(2))
    network.settle()
    assert answered.payloads == [settled(2)]
    assert buses["c"].stats().relayed == 2


def test_a_muted_direction_loses_everything_and_nobody_notices() -> None:
    network, buses = network_of("a", "b")
    inboxes = {name: Inbox() for name in buses}
    for name, bus in buses.items():
        bus.register("sink", inboxes[name])
    network.mute("a", "b")
    assert buses["a"].send("b/sink", settled(1))
    assert buses["b"].send("a/sink", settled(2))
    network.settle()
    assert (inboxes["a"].payloads, inboxes["b"].payloads) == ([settled(2)], [])
    assert buses["a"].peers()
    network.unmute("a", "b")
    assert buses["a"].send("b/sink", settled(3))
    network.settle()
    assert inboxes["b"].payloads == [settled(3)]


def test_endless_talk_ends_at_the_limit() -> None:
    network, buses = network_of("a", "b")
    for bus in buses.values():
        bus.register("echo", lambda envelope, bus=bus: bus.reply(envelope, envelope.payload))
    buses["a"].send("b/echo", settled(1), sender="echo")
    assert network.settle(limit=50) == 50


def test_a_pump_thread_moves_it(request: pytest.FixtureRequest) -> None:
    network, buses = network_of("a", "b", plan=FaultPlan(delay_s=(0.0, 0.05)))
    inbox = Inbox()
    buses["b"].register("sink", inbox)
    pump = LoopbackPump(network)
    pump.start()
    request.addfinalizer(pump.stop)
    for number in range(20):
        assert buses["a"].send("b/sink", settled(number))
    wait_until(lambda: len(inbox.envelopes) == 20)
