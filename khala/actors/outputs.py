"""Output on its way in: pieces of many streams gather while a write is in flight, and go as one.

Its thread blocks in the store. An executor sends again what was not acknowledged, so nothing is kept
here beyond the batch in hand; how far a stream came is answered from the store, never from memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from khala.actors.actor import NodeActor, Stage
from khala.actors.answering import not_available
from khala.actors.messages import Began, CallsAnswered, Flush, OutputGrew
from khala.bus.envelope import Envelope
from khala.core.commands import Refused
from khala.core.output import CHUNK_BYTES, PHASES, STREAMS, OutputChunk, StreamKey
from khala.core.task import Epoch
from khala.core.transfers import OutputStored, PutOutput
from khala.errors import Refusal, Unavailable
from khala.store.interface import OutputStore

BATCH_BYTES = 8 << 20
BATCH_PIECES = 500
TASK_ID = re.compile(r"[0-9a-f]{24}")
MOST_ATTEMPTS = 10**9
MOST_BYTES = 1 << 40
FOREIGN = Refused(code="superseded", detail="it was assigned by a store of another generation", field="epoch")


class Outputs(NodeActor):
    """The front door has looked at each piece by itself (`check_piece`). Answers the callers itself."""

    def __init__(self, stage: Stage, *, store: OutputStore) -> None:
        super().__init__(stage, "outputs")
        self._store = store
        self._waiting: list[tuple[PutOutput, Envelope]] = []
        self._open: list[Envelope] = []
        self._flushing = False

    def begin(self) -> None:
        """What was sent to an earlier one is no longer on its way."""
        self.tell("judicator", Began(self.name))

    def callers(self) -> Iterable[Envelope]:
        """Those of the batch that is being written, and those of the next ones."""
        return [*self._open, *(envelope for _, envelope in self._waiting)]

    def handle_put_output(self, put: PutOutput, envelope: Envelope) -> None:
        """Gather."""
        self._waiting.append((put, envelope))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """Write what has gathered, then look at the inbox again."""
        self._flushing = False
        batch = self._take_batch()
        self._open = [caller for _, caller in batch]
        answers: list[object]
        try:
            answers = self._put([put for put, _ in batch])
        except Unavailable as why:
            answers = [not_available(why)] * len(batch)
        self._open = []
        for (_, caller), answer in zip(batch, answers, strict=True):
            self.reply(caller, answer)
        size_bytes = sum(len(put.data) for put, _ in batch)
        self.tell("judicator", CallsAnswered(self.name, len(batch), size_bytes))
        if self._waiting:
            self._flush_soon()

    def _put(self, puts: list[PutOutput]) -> list[object]:
        """Store those of the store's own generation: another's may have the numbers of ours (P4)."""
        current = Epoch(generation=self._store.generation())
        own = [put for put in puts if put.epoch.shares_generation(current)]
        chunks = [OutputChunk(key=key_of(put), offset=put.offset, data=put.data) for put in own]
        ends = iter(self._store.put_output(chunks) if chunks else ())
        self.tell("followers", OutputGrew(tuple({chunk.key for chunk in chunks if chunk.data})))
        return [
            OutputStored(next_offset=next(ends)) if put.epoch.shares_generation(current) else FOREIGN
            for put in puts
        ]

    def _take_batch(self) -> list[tuple[PutOutput, Envelope]]:
        count = size_bytes = 0
        for put, _ in self._waiting:
            size_bytes += len(put.data)
            if count == BATCH_PIECES or (count and size_bytes > BATCH_BYTES):
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch


def check_piece(put: PutOutput) -> None:
    """Raise Refusal for a piece that no stream could take."""
    check_stream(put.task_id, put.attempt, put.phase, put.stream)
    if put.attempt < 1:
        raise Refusal("attempts are numbered from 1", field="attempt")
    if len(put.data) > CHUNK_BYTES:
        raise Refusal(f"a piece has at most {CHUNK_BYTES} bytes", code="too_large", field="data")
    check_range(put.offset, len(put.data))


def check_stream(task_id: str, attempt: int, phase: str, stream: str) -> None:
    """Raise Refusal for what cannot name a stream; attempt 0 is the newest."""
    if not TASK_ID.fullmatch(task_id):
        raise Refusal("a task's id is 24 hexadecimal digits", field="task_id")
    if not 0 <= attempt <= MOST_ATTEMPTS:
        raise Refusal(f"an attempt is 0 to {MOST_ATTEMPTS}", field="attempt")
    if phase not in PHASES:
        raise Refusal(f"a phase is one of {', '.join(PHASES)}", field="phase")
    if stream not in STREAMS:
        raise Refusal(f"a stream is one of {', '.join(STREAMS)}", field="stream")


def check_range(offset: int, length: int) -> None:
    """Raise Refusal for a part that no stream could have."""
    if not 0 <= offset <= MOST_BYTES or length < 0:
        raise Refusal(f"an offset is 0 to {MOST_BYTES}, a length 0 or more", field="offset")


def key_of(put: PutOutput) -> StreamKey:
    """The stream that a piece belongs to."""
    return StreamKey(task_id=put.task_id, attempt=put.attempt, phase=put.phase, stream=put.stream)
