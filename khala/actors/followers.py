"""Reads output for clients, and lets those wait who have seen all of it.

A wait ends when this node stores more, when the leader settles the task, and by a look at the store
twice a second, which finds what other judicators stored and what a lost message would have told: one
question for all. What many ask at the same time, as the watchers of one output do, is read once. Its thread
blocks in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from khala.actors.actor import NodeActor, Stage
from khala.actors.answering import reply_of
from khala.actors.follows import Follow, Follows
from khala.actors.messages import Began, CallsAnswered, Flush, OutputGrew, Tick
from khala.actors.output_parts import PartReader, is_over
from khala.actors.waits import WAIT_MOST_S
from khala.bus.envelope import Envelope
from khala.core.commands import NotAvailable
from khala.core.messages import TasksSettled
from khala.core.output import StreamKey
from khala.core.transfers import GetOutput, OutputPart
from khala.errors import Fault, Refusal, Unavailable
from khala.store.interface import Store

GETS_AT_ONCE = 64


class _Asked(NamedTuple):
    """A caller, who may wait until then, in seconds (CLOCK_BOOTTIME)."""

    envelope: Envelope
    until: float

    @property
    def get(self) -> GetOutput:
        """The question."""
        return self.envelope.payload  # type: ignore[return-value]


class Followers(NodeActor):
    """The front door has looked at each question by itself (`check_stream`). Answers the callers itself."""

    def __init__(self, stage: Stage, *, store: Store) -> None:
        super().__init__(stage, "followers")
        self._store = store
        self._follows = Follows()
        self._asked: list[_Asked] = []

    def begin(self) -> None:
        """What was asked of an earlier one is lost."""
        self.tell("judicator", Began(self.name))

    def callers(self) -> Iterable[Envelope]:
        """Those who have asked, and those who wait."""
        waiting = [follow.envelope for follow in self._follows.end_all()]
        return [*(asked.envelope for asked in self._asked), *waiting]

    def handle_get_output(self, get: GetOutput, envelope: Envelope) -> None:
        """Answer, or let the caller wait: whoever waits is not what keeps this node busy (P15)."""
        until = self.now().boot_s + min(max(get.wait_s, 0.0), WAIT_MOST_S)
        self._asked.append(_Asked(envelope, until))
        if len(self._asked) == 1:
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """Answer those who asked meanwhile."""
        self._answer_all(self._asked)
        self.tell("judicator", CallsAnswered(self.name, len(self._asked), 0))
        self._asked = []

    def handle_output_grew(self, grew: OutputGrew, envelope: Envelope) -> None:
        """This node stored more."""
        self._look_again(self._follows.grown(grew.keys))

    def handle_tasks_settled(self, settled: TasksSettled, envelope: Envelope) -> None:
        """The leader recorded outcomes."""
        self._look_again(self._follows.changed(settled.task_ids))

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """End waits whose time is up; look for the rest."""
        self._look_again(self._follows.expired(self.now().boot_s))
        follows = self._follows.to_check()
        if not follows:
            return
        try:
            changed = self._changed(follows)
            grown = self._store.outputs_beyond(list({(each.key, each.size) for each in follows}))
        except Unavailable as why:
            self.log.warning("cannot look for more output", reason=str(why))
            return
        self._look_again([*self._follows.changed(changed), *self._follows.grown(grown)])

    def _changed(self, follows: list[Follow]) -> list[str]:
        """The tasks among these that began, lost or finished the attempt that is followed."""
        task_ids = tuple({each.key.task_id for each in follows})
        controls = {task.id: task.control for task in self._store.read(task_ids, view="minimal")}

        def is_changed(key: StreamKey) -> bool:
            control = controls.get(key.task_id)
            return (
                control is None or is_over(control, key.attempt) or (not key.attempt and control.attempt > 0)
            )

        return list(dict.fromkeys(each.key.task_id for each in follows if is_changed(each.key)))

    def _look_again(self, follows: Iterable[Follow]) -> None:
        self._answer_all([_Asked(follow.envelope, follow.until) for follow in follows])

    def _answer_all(self, asked: Sequence[_Asked]) -> None:
        """What is alike in a row, which is how a reader reads least."""
        ordered = sorted(asked, key=lambda each: _place(each.get))
        for first in range(0, len(ordered), GETS_AT_ONCE):
            self._answer_some(ordered[first : first + GETS_AT_ONCE])

    def _answer_some(self, asked: Sequence[_Asked]) -> None:
        """Answer each now, unless there is nothing to say and time left."""
        try:
            reader = PartReader(self._store, [each.get for each in asked])
        except (Unavailable, Fault) as why:
            if len(asked) > 1 and isinstance(why, Fault):
                # One of their tasks: the others' can be read.
                for each in asked:
                    self._answer_some([each])
                return
            for each in asked:
                self.reply(each.envelope, self._trouble(each.get, why))
            return
        for each in asked:
            self._answer(reader, each)

    def _answer(self, reader: PartReader, asked: _Asked) -> None:
        try:
            part = reader.read(asked.get)
        except (Refusal, Unavailable, Fault) as why:
            self.reply(asked.envelope, self._trouble(asked.get, why))
        else:
            if not self._waits(asked, part):
                self.reply(asked.envelope, part)

    def _trouble(self, get: GetOutput, why: Refusal | Unavailable | Fault) -> object:
        """What a caller is told who cannot have an answer."""
        if not isinstance(why, Fault):
            return reply_of(why)
        self.log.error("output cannot be read", task=get.task_id, exc_info=why)
        return NotAvailable(detail=f"this cannot be read: {why}; the judicator's log says more")

    def _waits(self, asked: _Asked, part: OutputPart) -> bool:
        get = asked.get
        if part.complete or get.offset < part.size or self.now().boot_s >= asked.until:
            return False
        key = StreamKey(task_id=get.task_id, attempt=part.attempt, phase=get.phase, stream=get.stream)
        return self._follows.begin(Follow(asked.envelope, key, part.size, asked.until))


def _place(get: GetOutput) -> tuple[str, int, str, str, int, int]:
    return (get.task_id, get.attempt, get.phase, get.stream, get.offset, get.length)
