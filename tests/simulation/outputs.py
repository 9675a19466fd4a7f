"""A simulated executor's spools, which survive its crashes, and their delivery by any judicator.

The real bookkeeping decides what is sent; calls may be lost, late or answered twice, and a host that
crashes may lose the end of a file.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from khala.core.effects import DeliverOutput, DropSpool, StartAttempt
from khala.core.execution.delivering import Deliveries, Piece
from khala.core.execution.lanes import began_at
from khala.core.output import OutputChunk, StreamKey, cut_streams, stored_streams
from khala.core.task import Epoch, ExitReason, Outcome, PhaseResult, Result, StreamCapture
from khala.errors import Refusal

if TYPE_CHECKING:
    from simulation.executor import Executor

CHUNK_BYTES = 7
ANSWERS_WITHIN_S = 1.5


@dataclass(frozen=True, slots=True)
class Put:
    """An executor's call; `number` tells its answer from others."""

    number: int
    chunk: OutputChunk
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class PutAnswered:
    """The judicator's answer; None when the store did not say, a Refusal when it never takes it."""

    number: int
    end: int | Refusal | None


def key_of(task_id: str, attempt: int) -> StreamKey:
    """The one stream that a simulated attempt has."""
    return StreamKey(task_id=task_id, attempt=attempt, phase="execute", stream="stdout")


def content_of(key: StreamKey, generation: int, size: int) -> bytes:
    """What an attempt writes: its own bytes, the same whenever one looks."""
    line = hashlib.sha256(repr((key, generation)).encode()).digest()
    return (line * (size // len(line) + 1))[:size]


def with_output(outcome: Outcome, effect: StartAttempt, size: int) -> Outcome:
    """The outcome of an attempt that wrote so much, all of it spooled."""
    data = content_of(key_of(effect.task_id, effect.attempt), effect.epoch.generation, size)
    stdout = StreamCapture(size=size, stored_bytes=size, sha256=hashlib.sha256(data).hexdigest())
    part = PhaseResult(
        exit_reason=ExitReason.EXITED, exit_code=0, started_at=min(began_at(outcome)), stdout=stdout
    )
    return replace(outcome, result=Result(execute=part))


class Delivering:
    """`spools` are files: they outlive a process. All else is one life's."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.spools: dict[StreamKey, bytes] = {}
        self._numbers = itertools.count(1)
        self.begin()

    def begin(self) -> None:
        """A new life knows its files and nothing else."""
        self._deliveries = Deliveries(chunk_bytes=CHUNK_BYTES)
        self._live: set[StreamKey] = set()
        self._outcomes: dict[tuple[str, int], Outcome] = {}
        self._epochs: dict[StreamKey, Epoch] = {}
        self._flying: dict[int, Piece] = {}

    def crashed(self) -> None:
        """The process is gone; with its host, sometimes, the end of a file."""
        clockwork = self.executor.clockwork
        for key, data in self.spools.items():
            if clockwork.chance(0.2):
                self.executor.world.happened("spool cut short")
                self.spools[key] = data[: clockwork.rng.randint(0, len(data))]

    def wrote(self, effect: StartAttempt, size: int) -> None:
        """An attempt's launcher spooled more, and tells, if it is heard."""
        key = key_of(effect.task_id, effect.attempt)
        self.spools[key] = content_of(key, effect.epoch.generation, size)
        self.executor.post(0.0, self._grew, key, effect.epoch, size)

    def _grew(self, key: StreamKey, epoch: Epoch, size: int) -> None:
        self._live.add(key)
        self._epochs[key] = epoch
        self._deliveries.spooled(key, size)
        self.go_on()

    def deliver(self, wanted: DeliverOutput) -> None:
        """As the delivery actor does it."""
        attempt = (wanted.task_id, wanted.attempt)
        if wanted.outcome.result is None:
            key = key_of(*attempt)
            sizes = {key: len(self.spools[key])} if key in self.spools else {}
        else:
            captures = stored_streams(*attempt, wanted.outcome.result)
            sizes = {key: self._trusted(key, capture) for key, capture in captures.items()}
        self._outcomes[attempt] = wanted.outcome
        self._epochs[key_of(*attempt)] = wanted.epoch
        self._deliveries.finish(*attempt, sizes)
        self.go_on()

    def _trusted(self, key: StreamKey, capture: StreamCapture) -> int:
        right = hashlib.sha256(self.spools.get(key, b"")).hexdigest() == capture.sha256
        return capture.stored_bytes if right or key in self._live else 0

    def drop(self, dropped: DropSpool) -> None:
        """Settled."""
        key = key_of(dropped.task_id, dropped.attempt)
        self._live.discard(key)
        self._outcomes.pop((key.task_id, key.attempt), None)
        self._deliveries.drop(key.task_id, key.attempt)
        self.spools.pop(key, None)

    def go_on(self) -> None:
        """Send what is due, tell what is delivered."""
        executor = self.executor
        for piece in self._deliveries.next_pieces(executor.clock_s()):
            number = next(self._numbers)
            data = self.spools.get(piece.key, b"")[piece.offset : piece.offset + piece.length]
            chunk = OutputChunk(key=piece.key, offset=piece.offset, data=data)
            self._flying[number] = piece
            put = Put(number, chunk, self._epochs[piece.key])
            executor.send(executor.world.any_judicator(), put)
            executor.post(ANSWERS_WITHIN_S, self.answered, PutAnswered(number, None))
        for attempt, stored in self._deliveries.take_delivered():
            outcome = self._outcomes.pop(attempt)
            wanted = stored_streams(*attempt, outcome.result)
            cuts = {key: stored[key] for key, capture in wanted.items() if stored[key] < capture.stored_bytes}
            if cuts:
                executor.world.happened("output told as cut")
            executor.post(0.0, executor.delivered, *attempt, cut_streams(outcome, cuts))

    def answered(self, answer: PutAnswered) -> None:
        """A judicator's answer, or that there was none in time."""
        piece = self._flying.pop(answer.number, None)
        if piece is None:
            return
        if answer.end is None:
            self._deliveries.failed(piece, self.executor.clock_s())
        elif isinstance(answer.end, Refusal):
            self._deliveries.refused(piece)
        else:
            self._deliveries.stored(piece, answer.end, self.executor.clock_s())
        self.go_on()
