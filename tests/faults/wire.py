"""The network between a host of its own and the cluster, which a test can cut, one way too, and disturb.

The host is a network namespace that has nothing but a loopback interface. There a `Wire` listens on the
very ports of the cluster's etcd and bus, and carries the bytes of each connection over. Cut bytes are
kept, and arrive when the cut is mended, as TCP would repeat them. The bus's frames can be tripled and
delayed behind others. Threads of its own; `close` ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from khala.bus.wire import ONEWAY, FrameReader, parse

CLONE_NEWNET = 0x40000000
LIMIT_BYTES = 64 << 20
LOOK_S = 0.05
OUT, IN = "out", "in"
"""From the host to the cluster, and back."""


class Host:
    """A network namespace, held by a process that does nothing else."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        self.path = Path(f"/proc/{self._holder.pid}/ns/net")

    def listen(self, port: int) -> socket.socket:
        """A listening socket there: a socket belongs to the namespace in which it was made."""
        made: list[socket.socket] = []

        def make() -> None:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(descriptor, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                made.append(socket.create_server(("127.0.0.1", port)))
            finally:
                os.close(descriptor)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def close(self) -> None:
        """Let it go."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()


@dataclass(slots=True)
class Weather:
    """What happens to the bus's frames: `copies` of each, a share `late` of them behind later ones."""

    copies: int = 1
    late: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    disturbed: int = 0

    def of(self, frames: Sequence[bytes], held: list[bytes]) -> Iterator[bytes]:
        """What goes on at once; `held` keeps what goes later, and gives back what it had kept."""
        before = held[:]
        held.clear()
        for frame in frames:
            message = parse(frame)
            if message.type != ONEWAY or message.name != "deliver" or (self.copies == 1 and not self.late):
                yield frame
                continue
            self.disturbed += 1
            for _ in range(self.copies):
                if self.rng.random() < self.late:
                    held.append(frame)
                else:
                    yield frame
        yield from before


class Wire:
    """Between `host` and this machine's loopback, for `plain` ports and for those of `buses`."""

    def __init__(self, host: Host, plain: Sequence[int], buses: Sequence[int]) -> None:
        self.weather = Weather()
        self._open = {OUT: threading.Event(), IN: threading.Event()}
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self.mend()
        for port in (*plain, *buses):
            self._start(self._accept, host.listen(port), port, port in buses)

    def cut(self, *directions: str) -> None:
        """Nothing gets through in these directions, until `mend`."""
        for direction in directions:
            self._open[direction].clear()

    def mend(self) -> None:
        """Everything gets through again, what was under way too."""
        for each in self._open.values():
            each.set()

    def close(self) -> None:
        """End all connections."""
        self._ended.set()
        self.mend()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *details: object) -> None:
        thread = threading.Thread(target=work, args=details, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket, port: int, bus: bool) -> None:
        with server:
            while not self._ended.is_set():
                if not select.select([server], [], [], LOOK_S)[0]:
                    continue
                near, _ = server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", port), timeout=1.0)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                both_ends = threading.Semaphore(1)
                self._start(self._carry, near, far, OUT, bus, both_ends)
                self._start(self._carry, far, near, IN, bus, both_ends)

    def _carry(
        self, source: socket.socket, sink: socket.socket, direction: str, bus: bool, last: threading.Semaphore
    ) -> None:
        """Until one end closes; the second of both directions to end closes the sockets."""
        frames, held = FrameReader(LIMIT_BYTES), list[bytes]()
        try:
            while not self._ended.is_set():
                data = b""
                if select.select([source], [], [], LOOK_S)[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        break
                if not self._open[direction].wait(LOOK_S):
                    self._wait_open(direction)
                sink.sendall(self._changed(data, frames, held) if bus else data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            if not last.acquire(blocking=False):
                source.close()
                sink.close()

    def _wait_open(self, direction: str) -> None:
        while not self._open[direction].wait(LOOK_S) and not self._ended.is_set():
            continue

    def _changed(self, data: bytes, frames: FrameReader, held: list[bytes]) -> bytes:
        frames.feed(data)
        now = self.weather.of(list(frames.frames()), held)
        return b"".join(len(frame).to_bytes(4, "big") + frame for frame in now)
