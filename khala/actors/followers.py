"""Reads output for clients, and lets those wait who have seen all of it.

A wait ends when this node stores more, when the leader settles the task, and by a look at the store
twice a second, which finds what other judicators stored and what a lost message would have told: one
question for all. Its thread blocks in the store.
"""

from __future__ import annotations

from collections.abc import Iterable

from khala.actors.actor import NodeActor, Stage
from khala.actors.answering import reply_of
from khala.actors.follows import Follow, Follows
from khala.actors.messages import Began, CallsAnswered, OutputGrew, Tick
from khala.actors.output_parts import is_over, read_part
from khala.actors.waits import WAIT_MOST_S
from khala.bus.envelope import Envelope
from khala.core.commands import NotAvailable
from khala.core.messages import TasksSettled
from khala.core.output import StreamKey
from khala.core.transfers import GetOutput, OutputPart
from khala.errors import Fault, Refusal, Unavailable
from khala.store.interface import Store


class Followers(NodeActor):
    """The front door has looked at each question by itself (`check_stream`). Answers the callers itself."""

    def __init__(self, stage: Stage, *, store: Store) -> None:
        super().__init__(stage, "followers")
        self._store = store
        self._follows = Follows()

    def begin(self) -> None:
        """What was asked of an earlier one is lost."""
        self.tell("judicator", Began(self.name))

    def callers(self) -> Iterable[Envelope]:
        """Those who wait."""
        return [follow.envelope for follow in self._follows.end_all()]

    def handle_get_output(self, get: GetOutput, envelope: Envelope) -> None:
        """Answer, or let the caller wait: whoever waits is not what keeps this node busy (P15)."""
        self._answer(envelope, self.now().boot_s + min(max(get.wait_s, 0.0), WAIT_MOST_S))
        self.tell("judicator", CallsAnswered(self.name, 1, 0))

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
        for follow in follows:
            self._answer(follow.envelope, follow.until)

    def _answer(self, envelope: Envelope, until: float) -> None:
        """Answer a question of GetOutput now, unless there is nothing to say and time left."""
        get: GetOutput = envelope.payload  # type: ignore[assignment]
        answer: object
        try:
            part = read_part(self._store, get)
        except (Refusal, Unavailable) as why:
            answer = reply_of(why)
        except Fault as why:
            self.log.error("output cannot be read", task=get.task_id, exc_info=why)
            answer = NotAvailable(detail=f"this cannot be read: {why}; the judicator's log says more")
        else:
            if self._waits(envelope, get, part, until):
                return
            answer = part
        self.reply(envelope, answer)

    def _waits(self, envelope: Envelope, get: GetOutput, part: OutputPart, until: float) -> bool:
        if part.complete or get.offset < part.size or self.now().boot_s >= until:
            return False
        key = StreamKey(task_id=get.task_id, attempt=part.attempt, phase=get.phase, stream=get.stream)
        return self._follows.begin(Follow(envelope, key, part.size, until))
