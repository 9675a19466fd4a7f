"""The launcher's end of its socket to the executor: jobs, aborts and renewals in, frames out.

Used by the launcher's only thread. The executor is trusted: its frames are taken as they are.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from itertools import islice

from .children import now_s
from .framing import READ_BYTES, FrameReader, Header, encode

MAX_FRAME_BYTES = 1 << 30
SOON_S = 0.02


class ExecutorGone(Exception):
    """The executor has closed the socket, or died: end everything and exit."""


class Control:
    """Frames over one connected stream socket.

    `deadline_s` (CLOCK_BOOTTIME) is until when the attempt at hand may run unless the executor renews it,
    as it does while its lease holds (P11); None for an attempt that needs no renewal.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.deadline_s: float | None = None
        self._sock = sock
        self._reader = FrameReader(MAX_FRAME_BYTES)
        self._jobs: deque[tuple[Header, list[bytes]]] = deque()
        self._job: tuple[str, int] | None = None
        self._aborts: dict[tuple[str, int], float] = {}
        self._waiting: list[Header] = []
        self._unsent_until_s: float | None = None

    def fileno(self) -> int:
        """For poll."""
        return self._sock.fileno()

    def next_job(self) -> tuple[Header, list[bytes]]:
        """Wait for the executor's next job; those that came ahead are taken in order."""
        self.first_jobs(1)
        job, blobs = self._jobs.popleft()
        self._job = _key(job)
        return job, blobs

    def first_jobs(self, most: int) -> list[tuple[Header, list[bytes]]]:
        """Wait for a job; the first `most` of those that are there, which stay until they are taken."""
        self._job = None
        if self._aborts:
            self._aborts = {key: grace_s for key, grace_s in self._aborts.items() if self._has(key)}
        while not self._jobs:
            self._receive(0)
        return list(islice(self._jobs, most))

    def drop_jobs(self, count: int) -> None:
        """The first `count` have ended, and it has been told."""
        for _ in range(count):
            self._jobs.popleft()

    @property
    def job_count(self) -> int:
        """How many jobs wait, the first of `first_jobs` included."""
        return len(self._jobs)

    @property
    def has_jobs(self) -> bool:
        """Do jobs wait for the one at hand to end?"""
        return bool(self._jobs)

    def give_back(self) -> None:
        """Have the executor take back the jobs that wait here, for the one at hand takes long."""
        if self._jobs:
            frames = [*self._waiting, {"returned": [_key(job) for job, _ in self._jobs]}]
            self._jobs.clear()
            self._waiting.clear()
            self._send(b"".join(map(encode, frames)))

    def receive(self) -> bool:
        """Read what has arrived; False if nothing has."""
        try:
            self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def abort_of(self, task_id: str, attempt: int) -> float | None:
        """The kill grace in seconds if what was read asks to abort this attempt."""
        return self._aborts.get((task_id, attempt))

    def send(self, header: Header, blobs: Sequence[bytes] = ()) -> None:
        """Send a frame. Those that were to be sent soon need not be any more: it says it all."""
        self._waiting.clear()
        self._send(encode(header, blobs))

    def send_soon(self, header: Header) -> None:
        """Send a frame by `send_due`, unless another one that is sent before makes it needless."""
        self._waiting.append(header)
        self._unsent_until_s = now_s() + SOON_S

    @property
    def due_s(self) -> float | None:
        """When `send_due` is to be called, on the clock of `now_s`; None: nothing waits."""
        return self._unsent_until_s

    def send_due(self) -> None:
        """Send what has waited long enough."""
        if self._unsent_until_s is not None and now_s() >= self._unsent_until_s:
            waiting, self._waiting = self._waiting, []
            self._send(b"".join(map(encode, waiting)))

    def _send(self, data: bytes) -> None:
        self._unsent_until_s = None
        try:
            self._sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ExecutorGone("the executor closed the socket") from error

    def try_send(self, header: Header) -> bool:
        """Send a small frame if that needs no waiting; False if it would have."""
        frame = b"".join(map(encode, (*self._waiting, header)))
        try:
            sent = self._sock.send(frame, socket.MSG_DONTWAIT)
            self._waiting.clear()
            self._unsent_until_s = None
            if sent < len(frame):
                self._sock.sendall(frame[sent:])
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ExecutorGone("the executor closed the socket") from error
        return True

    def _receive(self, flags: int) -> None:
        try:
            data = self._sock.recv(READ_BYTES, flags)
        except ConnectionResetError as error:
            raise ExecutorGone("the executor closed the socket") from error
        if not data:
            raise ExecutorGone("the executor closed the socket")
        for header, blobs in self._reader.feed(data):
            if "job" in header:
                self._jobs.append((header["job"], blobs))
            elif "abort" in header:
                task_id, attempt = header["abort"]
                if self._has((task_id, attempt)):
                    self._aborts[(task_id, attempt)] = float(header["kill_grace_s"])
            elif self.deadline_s is not None:
                self.deadline_s = float(header["renewed_s"])

    def _has(self, key: tuple[str, int]) -> bool:
        """Is it still to end here? An abort may come after its attempt has."""
        return key == self._job or any(key == _key(job) for job, _ in self._jobs)


def _key(job: Header) -> tuple[str, int]:
    return job["task_id"], job["attempt"]
