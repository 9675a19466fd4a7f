"""Who waits for output: each comes out once, by growth, by a change of its task, or by time."""

from __future__ import annotations

import itertools

from khala.actors import follows as module
from khala.actors.follows import Follow, Follows
from khala.bus.envelope import Envelope
from khala.core.output import StreamKey

NUMBERS = itertools.count(1)
TASK, OTHER = "a" * 24, "b" * 24


def key(task_id: str = TASK, attempt: int = 1, stream: str = "stdout") -> StreamKey:
    return StreamKey(task_id=task_id, attempt=attempt, phase="execute", stream=stream)


def follow(of: StreamKey, *, size: int = 0, until: float = 10.0) -> Follow:
    id = str(next(NUMBERS))
    return Follow(Envelope(id=id, sender="rpc/x", destination="j/judicator", payload=None), of, size, until)


def test_growth_wakes_those_of_that_stream_and_those_who_wait_for_a_first_attempt() -> None:
    follows = Follows()
    mine, twin, err, first, other = (
        follow(key()), follow(key()), follow(key(stream="stderr")), follow(key(attempt=0)), follow(key(OTHER))
    )  # fmt: skip
    for each in (mine, twin, err, first, other):
        assert follows.begin(each)
    assert follows.grown([key()]) == [mine, twin, first]
    assert follows.grown([key()]) == []
    assert len(follows) == 2


def test_a_changed_task_wakes_all_of_its_own() -> None:
    follows = Follows()
    mine, err, other = follow(key()), follow(key(stream="stderr")), follow(key(OTHER))
    for each in (mine, err, other):
        follows.begin(each)
    assert set(follows.changed([TASK, "c" * 24])) == {mine, err}
    assert follows.changed([TASK]) == []
    assert follows.end_all() == [other]
    assert len(follows) == 0


def test_time_runs_out() -> None:
    follows = Follows()
    soon, late = follow(key(), until=1.0), follow(key(), until=2.0)
    follows.begin(soon)
    follows.begin(late)
    assert follows.expired(0.5) == []
    assert follows.expired(1.0) == [soon]
    assert follows.grown([key()]) == [late]


def test_all_are_looked_after_in_turn() -> None:
    follows = Follows()
    every = [follow(key(f"{number:024x}")) for number in range(module.CHECKED_AT_ONCE * 2 + 7)]
    for each in every:
        follows.begin(each)
    rounds = [follows.to_check() for _ in range(3)]
    assert [len(each) for each in rounds] == [module.CHECKED_AT_ONCE, module.CHECKED_AT_ONCE, 7]
    assert [each for some in rounds for each in some] == every
    assert follows.to_check() == rounds[0]
    follows.end_all()
    assert follows.to_check() == []


def test_there_is_a_limit() -> None:
    follows = Follows()
    assert all(follows.begin(follow(key())) for _ in range(module.FOLLOWS_MOST))
    assert not follows.begin(follow(key()))
    follows.expired(99.0)
    assert follows.begin(follow(key()))
