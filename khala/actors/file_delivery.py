"""Brings the output files of ended attempts to the store, by the executor's own calls to any judicator.

An outcome that has files comes here first, and goes on to the delivery of streams when all of them are
on a majority's disk (P6). It drives `khala.core.execution.file_uploads`. Its thread blocks in the disk
only.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

from khala.actors.actor import NodeActor, Stage
from khala.actors.executor_messages import FilePartAnswered
from khala.actors.messages import Tick
from khala.bus.envelope import Envelope
from khala.core.effects import DeliverOutput, DropSpool
from khala.core.execution.file_uploads import FilePart, FileUploads, without_lost
from khala.core.transfers import FileStored, PutFileChunk
from khala.errors import KhalaError, Refusal, Unavailable
from khala.execution.spools import Spools

UNSTORABLE = ("invalid", "too_large")
"""Refusals that no repetition changes: the content is not what its digest says."""
PutFile = Callable[[PutFileChunk], Future[Any]]
"""Call a judicator; the future gives FileStored or raises one of Khala's errors."""


class FileDelivery(NodeActor):
    """`put` is thread-safe and does not block. Essential: who waits for a delivery would wait for ever."""

    def __init__(self, stage: Stage, *, spools: Spools, put: PutFile) -> None:
        super().__init__(stage, "file-delivery")
        self._spools = spools
        self._put = put
        self._uploads = FileUploads(new_id=lambda: uuid.uuid4().hex)
        self._wanted: dict[tuple[str, int], DeliverOutput] = {}

    def handle_deliver_output(self, wanted: DeliverOutput, envelope: Envelope) -> None:
        """An attempt is over, and has files."""
        result = wanted.outcome.result
        attempt = (wanted.task_id, wanted.attempt)
        self._wanted[attempt] = wanted
        self._uploads.begin(attempt, result.outputs if result else ())
        self._go_on()

    def handle_drop_spool(self, drop: DropSpool, envelope: Envelope) -> None:
        """Its outcome is settled, or nobody wants it any more."""
        self._wanted.pop((drop.task_id, drop.attempt), None)
        self._uploads.drop((drop.task_id, drop.attempt))

    def handle_file_part_answered(self, answered: FilePartAnswered, envelope: Envelope) -> None:
        """A judicator has taken a part, or not."""
        part, error = answered.part, answered.error
        if error is None:
            self._uploads.stored(part, complete=answered.complete)
        elif isinstance(error, Refusal) and error.code in UNSTORABLE:
            self.log.error("output file refused", part=str(part), reason=str(error))
            self._uploads.lost(part)
        else:
            # A conflict: another judicator than before answers, and knows nothing of the upload.
            if not isinstance(error, Unavailable) and getattr(error, "code", "") != "conflict":
                self.log.warning("output file not delivered", part=str(part), reason=str(error))
            self._uploads.failed(part, self.now().boot_s)
        self._go_on()

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """What had to wait may be due."""
        self._go_on()

    def _go_on(self) -> None:
        for part in self._uploads.next_parts(self.now().boot_s):
            self._send_part(part)
        for attempt, lost in self._uploads.take_delivered():
            wanted = self._wanted.pop(attempt)
            if lost:
                self.log.error("output files lost with their spool", task_id=attempt[0], files=len(lost))
            self.tell("delivery", replace(wanted, outcome=without_lost(wanted.outcome, lost)))

    def _send_part(self, part: FilePart) -> None:
        data = self._read(part)
        if len(data) < part.length:
            why = Refusal("its spool is shorter than it was")
            self.tell(self.name, FilePartAnswered(part, error=why))
            return
        command = PutFileChunk(
            upload_id=part.upload_id,
            sha256=part.file.sha256,
            size=part.file.size,
            offset=part.offset,
            data=data,
        )
        self._put(command).add_done_callback(partial(self._answered, part))

    def _answered(self, part: FilePart, future: Future[Any]) -> None:
        """In the caller's thread: only pass it on."""
        error = future.exception()
        if error is None and isinstance(answer := future.result(), FileStored):
            self.tell(self.name, FilePartAnswered(part, complete=answer.complete))
        else:
            known = error if isinstance(error, KhalaError) else Unavailable(f"no answer to a part: {error!r}")
            self.tell(self.name, FilePartAnswered(part, error=known))

    def _read(self, part: FilePart) -> bytes:
        try:
            return self._spools.read_files(*part.attempt, part.spooled_at, part.length)
        except OSError as error:
            self.log.error("a spool cannot be read", part=str(part), reason=str(error))
            return b""
