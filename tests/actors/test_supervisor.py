"""Starting in order, starting again, giving up, and stopping in reverse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from actors.world import Clock
from structlog.testing import capture_logs
from wait import wait_until

from khala.actors.actor import NodeActor, Stage
from khala.actors.executor_messages import Drain
from khala.actors.messages import AreYouUp, Flush, Tick
from khala.actors.supervisor import GIVE_UP_AFTER, Role, Supervisor
from khala.actors.ticker import Ticker
from khala.bus.envelope import Envelope
from khala.bus.interface import BusSettings
from khala.bus.loopback import LoopbackBus
from khala.bus.loopback_network import LoopbackNetwork


class Player(NodeActor):
    """Writes down what happens to it; a Flush is more than it can take."""

    def __init__(self, stage: Stage, name: str, story: list[str], *, fails_at_start: bool = False) -> None:
        super().__init__(stage, name)
        self._story = story
        self._fails_at_start = fails_at_start
        self.hold: threading.Event | None = None

    def begin(self) -> None:
        self._story.append(f"{self.name} begins")
        if self._fails_at_start:
            raise OSError("no luck")

    def end(self) -> None:
        self._story.append(f"{self.name} ends")

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        raise RuntimeError("a planted bug")

    def handle_drain(self, drain: Drain, envelope: Envelope) -> None:
        self._story.append(f"{self.name} drains")

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        self._story.append(f"{self.name} ticks")

    def handle_event(self, event: Any, envelope: Envelope) -> None:
        event.wait(60.0)


class Troupe:
    """A supervisor with players."""

    def __init__(self) -> None:
        self.bus = LoopbackBus(LoopbackNetwork(), BusSettings(node="n", role="judicator", incarnation="1"))
        self.bus.start()
        self.story: list[str] = []
        self.gave_up: list[str] = []
        self.supervisor: Any = None

    def start(self, *roles: Callable[[Stage], Role]) -> None:
        def cast(failed: Callable[[str, str], None]) -> Sequence[Role]:
            stage = Stage(node="n", bus=self.bus, clock=Clock(), failed=failed)
            return [role(stage) for role in roles]

        self.supervisor = Supervisor.start(cast, clock=Clock(), gave_up=self.gave_up.append)

    def up(self) -> None:
        self.supervisor.ask(AreYouUp(), timeout=60)

    def player(self, name: str, *, essential: bool = False, **options: Any) -> Callable[[Stage], Role]:
        def role(stage: Stage) -> Role:
            start = partial(Player.start, stage, name, self.story, **options)
            return Role(name=name, start=start, essential=essential)

        return role

    def told(self, what: str, times: int = 1) -> None:
        wait_until(lambda: self.story.count(what) >= times, what=f"{what} {times} times")


@pytest.fixture
def troupe() -> Iterator[Troupe]:
    made = Troupe()
    yield made
    if made.supervisor is not None:
        made.supervisor.stop(timeout=60)
    made.bus.close()


def test_in_order_and_in_reverse(troupe: Troupe) -> None:
    troupe.start(*(troupe.player(name) for name in "abc"))
    troupe.up()
    troupe.supervisor.stop(timeout=60)
    assert troupe.story == ["a begins", "b begins", "c begins", "c ends", "b ends", "a ends"]
    assert not troupe.bus.send("n/a", Drain())


def test_a_failed_actor_is_started_again_and_reported(troupe: Troupe) -> None:
    with capture_logs() as logs:
        troupe.start(troupe.player("a"))
        troupe.up()
        troupe.bus.send("n/a", Flush())
        troupe.told("a begins", 2)
    assert troupe.story[:3] == ["a begins", "a ends", "a begins"]
    events = [(log["event"], log.get("reason", "")) for log in logs]
    assert ("actor failed", "RuntimeError: a planted bug") in events
    wait_until(lambda: troupe.bus.send("n/a", Drain()), what="a mailbox")
    troupe.told("a drains")
    assert not troupe.gave_up


def test_an_essential_actors_failure_ends_the_node_once(troupe: Troupe) -> None:
    troupe.start(troupe.player("a", essential=True), troupe.player("b", essential=True))
    troupe.up()
    troupe.bus.send("n/a", Flush())
    troupe.bus.send("n/b", Flush())
    wait_until(lambda: troupe.gave_up, what="giving up")
    troupe.told("b ends")
    troupe.up()
    assert len(troupe.gave_up) == 1
    assert "failed: RuntimeError: a planted bug" in troupe.gave_up[0]


def test_too_many_failures_end_the_node(troupe: Troupe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("khala.actors.supervisor.BACK_OFF_S", (0.001,))
    troupe.start(troupe.player("a", fails_at_start=True))
    wait_until(lambda: troupe.gave_up, what="giving up")
    assert troupe.gave_up == [f"the actor a failed {GIVE_UP_AFTER} times within a minute: OSError: no luck"]
    assert troupe.story.count("a begins") == GIVE_UP_AFTER


def test_a_cast_that_cannot_be_made_ends_the_node(troupe: Troupe) -> None:
    def broken(stage: Stage) -> Role:
        return Role(name="b", start=partial(Player.start, stage, "b", troupe.story, no_such_option=1))

    troupe.start(troupe.player("a"), broken)
    wait_until(lambda: troupe.gave_up, what="giving up")
    assert "no_such_option" in troupe.gave_up[0]
    troupe.told("a ends")


def test_a_failure_while_the_node_stops_is_no_news(troupe: Troupe) -> None:
    troupe.start(troupe.player("a", essential=True), troupe.player("b"))
    troupe.up()
    hold = threading.Event()
    troupe.bus.send("n/b", hold)
    stopping = troupe.supervisor.stop(block=False)
    troupe.bus.send("n/a", Flush())
    troupe.told("a ends")
    hold.set()
    stopping.get(timeout=60)
    assert not troupe.gave_up
    assert troupe.story[-1] == "b ends"


def test_an_actor_that_hangs_does_not_hold_up_the_end(
    troupe: Troupe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("khala.actors.supervisor.STOP_EACH_WITHIN_S", 0.1)
    troupe.start(troupe.player("a"), troupe.player("b"))
    troupe.up()
    hold = threading.Event()
    troupe.bus.send("n/b", hold)
    troupe.supervisor.stop(timeout=60)
    troupe.told("a ends")
    assert "b ends" not in troupe.story
    hold.set()
    troupe.told("b ends")


def test_a_slow_actor_finds_one_tick_and_not_all_it_missed(troupe: Troupe) -> None:
    troupe.start(troupe.player("a"))
    troupe.up()
    hold = threading.Event()
    troupe.bus.send("n/a", hold)
    ticker = Ticker("n", troupe.bus, {"a": 0.001})
    ticker.start()
    sent = troupe.bus.stats().delivered
    wait_until(lambda: troupe.bus.stats().delivered > sent + 20, what="ticks")
    ticker.stop()
    troupe.bus.send("n/a", Drain())
    hold.set()
    troupe.told("a drains")
    assert troupe.story.count("a ticks") <= 2
