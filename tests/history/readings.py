"""What clients read agrees with itself and with what is stored at the end: I15, and I6 from outside."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from history.records import TaskRead
from history.violation import require

from khala.core.task import TERMINAL, State, TaskControl


@dataclass(slots=True)
class Newest:
    """The newest rev that had been answered at each time; both lists only grow."""

    times: list[float] = field(default_factory=list)
    revs: list[int] = field(default_factory=list)

    def before(self, at: float) -> int:
        """The newest rev of all answers before `at`."""
        index = bisect_left(self.times, at)
        return self.revs[index - 1] if index else 0

    def add(self, at: float, rev: int) -> None:
        """One more answer; they come in the order of their times."""
        self.times.append(at)
        self.revs.append(max(rev, self.revs[-1] if self.revs else 0))


@dataclass(slots=True)
class Readings:
    """All reads so far."""

    newest: dict[tuple[str, str], Newest] = field(default_factory=lambda: defaultdict(Newest))
    finals: dict[str, tuple[int, State]] = field(default_factory=dict)

    def read(self, record: TaskRead) -> None:
        """I15: an answer is not older than one that the same gateway had given before it was asked."""
        known = self.newest[(record.gateway, record.task_id)]
        seen = known.before(record.began)
        text = "{} showed rev {} of {} after rev {}"
        require(record.rev >= seen, "I15", text, record.gateway, record.rev, record.task_id, seen)
        known.add(record.at, record.rev)
        if record.state in TERMINAL:
            shown = (record.rev, record.state)
            first = self.finals.setdefault(record.task_id, shown)
            require(first == shown, "I6", "{} was shown as {} and then as {}", record.task_id, first, shown)

    def at_rest(self, stored: Mapping[str, TaskControl]) -> None:
        """I6: the end that a client was shown is the end."""
        for task_id, (rev, state) in self.finals.items():
            control = stored.get(task_id)
            same = control is not None and (control.rev, control.state) == (rev, state)
            require(same, "I6", "{} was shown as {} at rev {}, and is {}", task_id, state, rev, control)
