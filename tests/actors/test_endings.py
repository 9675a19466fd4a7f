"""When the ends of attempts are told."""

from __future__ import annotations

from khala.actors.endings import EVERY_S, Endings
from khala.core.effects import Send


def told(*steps: tuple[float, bool, int]) -> list[list[object]]:
    """Which ends were told in each step: (when, is it busy, how many have ended)."""
    said: list[list[object]] = []
    endings = Endings(lambda _to, message: said[-1].append(message))
    number = 0
    for at, busy, ended in steps:
        said.append([])
        for _ in range(ended):
            number += 1
            endings.add(Send("leader/scheduler", number))
        endings.tell(at, busy=busy)
    return said


def test_an_idle_executor_tells_at_once() -> None:
    assert told((5.0, False, 1), (5.001, False, 2), (5.002, False, 0)) == [[1], [2, 3], []]


def test_a_busy_one_tells_together() -> None:
    soon, late = 5.0 + EVERY_S / 2, 5.0 + 2 * EVERY_S
    steps = ((5.0, True, 1), (5.001, True, 1), (soon, True, 2), (late, True, 1), (late, True, 1))
    assert told(*steps) == [[1], [], [], [2, 3, 4, 5], []]


def test_what_waited_is_told_when_nothing_else_waits_any_more() -> None:
    assert told((5.0, True, 1), (5.01, True, 1), (5.02, False, 0)) == [[1], [], [2]]


def test_a_tick_alone_is_enough() -> None:
    assert told((5.0, True, 1), (5.01, True, 1), (6.0, True, 0)) == [[1], [], [2]]
