"""Brings spooled output to the store, by the executor's own calls to any judicator (P6, P14).

Live output goes while its task runs; what an ended attempt's outcome says is stored goes before that
outcome is told. It drives `khala.core.execution.delivering`, reads pieces from the spools and sends
them; at most 8 MiB are on their way. A judicator that is away is tried again without end. Its thread
blocks in the disk only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from khala.actors.actor import NodeActor, Stage
from khala.actors.executor_messages import OutputDelivered, PieceAnswered, SpoolGrew, SweepSpools
from khala.actors.messages import Tick
from khala.bus.envelope import Envelope
from khala.core.effects import DeliverOutput, DropSpool
from khala.core.execution.delivering import Deliveries, Piece
from khala.core.output import StreamKey, cut_streams, stored_streams
from khala.core.task import Epoch, Outcome
from khala.core.transfers import OutputStored, PutOutput
from khala.errors import KhalaError, Refusal, Unavailable
from khala.execution.spools import Spools

Put = Callable[[PutOutput], Future[Any]]
"""Call a judicator; the future gives OutputStored or raises one of Khala's errors."""


class Delivery(NodeActor):
    """`put` is thread-safe and does not block. Essential: who waits for a delivery would wait for ever."""

    def __init__(self, stage: Stage, *, spools: Spools, put: Put) -> None:
        super().__init__(stage, "delivery")
        self._spools = spools
        self._put = put
        self._deliveries = Deliveries()
        self._live: set[tuple[str, int]] = set()
        self._epochs: dict[tuple[str, int], Epoch] = {}
        self._outcomes: dict[tuple[str, int], Outcome] = {}

    def handle_sweep_spools(self, sweep: SweepSpools, envelope: Envelope) -> None:
        """What no attempt in hand needs is an earlier life's."""
        self._spools.sweep(set(sweep.kept) | self._live)

    def handle_spool_grew(self, grew: SpoolGrew, envelope: Envelope) -> None:
        """A running attempt has more."""
        spooled = grew.spooled
        self._live.add((spooled.task_id, spooled.attempt))
        self._epochs[(spooled.task_id, spooled.attempt)] = grew.epoch
        for stream, size in (("stdout", spooled.stdout_bytes), ("stderr", spooled.stderr_bytes)):
            key = StreamKey(
                task_id=spooled.task_id, attempt=spooled.attempt, phase=spooled.phase.value, stream=stream
            )
            self._deliveries.spooled(key, size)
        self._go_on()

    def handle_deliver_output(self, wanted: DeliverOutput, envelope: Envelope) -> None:
        """An attempt is over: what its outcome says is stored, or all that there is, must be."""
        task_id, attempt = wanted.task_id, wanted.attempt
        result = wanted.outcome.result
        if result is None:
            sizes = self._spools.sizes(task_id, attempt)
        else:
            captures = stored_streams(task_id, attempt, result)
            sizes = {key: capture.stored_bytes for key, capture in captures.items()}
            if (task_id, attempt) not in self._live:
                # After a crash of the host a file may have its length and not its bytes.
                right = (
                    key for key, size in sizes.items() if self._digest(key, size) == captures[key].sha256
                )
                sizes = dict.fromkeys(sizes, 0) | {key: sizes[key] for key in right}
        self._epochs[(task_id, attempt)] = wanted.epoch
        self._outcomes[(task_id, attempt)] = wanted.outcome
        self._deliveries.finish(task_id, attempt, sizes)
        self._go_on()

    def handle_drop_spool(self, drop: DropSpool, envelope: Envelope) -> None:
        """Its outcome is settled."""
        attempt = (drop.task_id, drop.attempt)
        self._live.discard(attempt)
        self._epochs.pop(attempt, None)
        self._outcomes.pop(attempt, None)
        self._deliveries.drop(*attempt)
        self._spools.drop(*attempt)

    def handle_piece_answered(self, answered: PieceAnswered, envelope: Envelope) -> None:
        """A judicator has stored a piece, or not."""
        now, error = self.now().boot_s, answered.error
        if error is None:
            self._deliveries.stored(answered.piece, answered.next_offset, now)
        elif isinstance(error, Refusal):
            self.log.error("output refused", piece=str(answered.piece), reason=str(error))
            self._deliveries.refused(answered.piece)
        else:
            if not isinstance(error, Unavailable):
                self.log.warning("output not delivered", piece=str(answered.piece), reason=str(error))
            self._deliveries.failed(answered.piece, now)
        self._go_on()

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """What had to wait may be due."""
        self._go_on()

    def _go_on(self) -> None:
        for piece in self._deliveries.next_pieces(self.now().boot_s):
            self._send_piece(piece)
        for attempt, stored in self._deliveries.take_delivered():
            self._tell_delivered(attempt, stored)

    def _send_piece(self, piece: Piece) -> None:
        key = piece.key
        data = self._read(piece)
        if len(data) < piece.length:
            self.log.warning("a spool is shorter than it was", piece=str(piece))
            self._deliveries.shrink(key, piece.offset + len(data))
            self._deliveries.failed(piece, self.now().boot_s)
            return
        command = PutOutput(
            task_id=key.task_id,
            attempt=key.attempt,
            phase=key.phase,
            stream=key.stream,
            offset=piece.offset,
            data=data,
            epoch=self._epochs[(key.task_id, key.attempt)],
        )
        self._put(command).add_done_callback(partial(self._answered, piece))

    def _answered(self, piece: Piece, future: Future[Any]) -> None:
        """In the caller's thread: only pass it on."""
        error = future.exception()
        if error is None and isinstance(answer := future.result(), OutputStored):
            self.tell(self.name, PieceAnswered(piece, answer.next_offset))
        else:
            known = (
                error if isinstance(error, KhalaError) else Unavailable(f"no answer to a piece: {error!r}")
            )
            self.tell(self.name, PieceAnswered(piece, error=known))

    def _tell_delivered(self, attempt: tuple[str, int], stored: dict[StreamKey, int]) -> None:
        outcome = self._outcomes.pop(attempt)
        wanted = stored_streams(*attempt, outcome.result)
        cuts = {key: stored[key] for key, capture in wanted.items() if stored[key] < capture.stored_bytes}
        for key, kept in cuts.items():
            self.log.warning("output lost with its spool", stream=str(key), kept=kept)
        self.tell("executor", OutputDelivered(*attempt, cut_streams(outcome, cuts)))

    def _read(self, piece: Piece) -> bytes:
        try:
            return self._spools.read(piece.key, piece.offset, piece.length) if piece.length else b""
        except OSError as error:
            self.log.error("a spool cannot be read", piece=str(piece), reason=str(error))
            return b""

    def _digest(self, key: StreamKey, length: int) -> str:
        try:
            return self._spools.digest(key, length)
        except OSError as error:
            self.log.error("a spool cannot be read", stream=str(key), reason=str(error))
            return ""
