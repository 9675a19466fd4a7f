"""One native server kept running: started, watched, restarted with back-off, stopped.

Owned by one thread, which calls `check` a few times a second; has none of its own. The server ends
with the node (P21, see guard.py). Blocks only in `start` while an earlier server of the same folder
is ending, in `check` for one probe, in `wait_ready`, and in `stop` for the grace.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from khala.errors import ConfigurationError, Unavailable
from khala.services.definition import ServerDefinition, clean_environment
from khala.services.guarded_process import GuardedProcess
from khala.services.log_file import LogFile
from khala.services.ports import demand_free

_POLL_S = 0.05
_LAUNCH_S = 5.0


class Phase(StrEnum):
    """Where a server is: `waiting` is between a death and the next start."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """What `check` saw. `detail` says in one line what is wrong, or nothing."""

    phase: Phase
    pid: int | None
    restarts: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The times of one service, in seconds. A restart waits `restart_s`, doubled at each further
    death up to `restart_most_s`, and counts as recovered after `steady_s` of being ready."""

    probe_s: float = 1.0
    stop_grace_s: float = 6.0
    predecessor_s: float = 10.0
    restart_s: float = 0.2
    restart_most_s: float = 10.0
    steady_s: float = 30.0


class NativeService:
    """Keeps the server of one definition running."""

    def __init__(
        self,
        server: ServerDefinition,
        *,
        patience: Patience | None = None,
        on_log_line: Callable[[str], None] | None = None,
        max_log_bytes: int = 16 << 20,
    ) -> None:
        self._server = server
        self._files = server.files()
        self._patience = patience or Patience()
        self.log = LogFile(self._files.log, max_bytes=max_log_bytes, on_line=on_log_line)
        self.restarts = 0
        self.last_exit = ""
        self._process: GuardedProcess | None = None
        self._phase = Phase.STOPPED
        self._detail = ""
        self._back_off_s = 0.0
        self._start_at = 0.0
        self._ready_since: float | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    @property
    def guard_pid(self) -> int | None:
        """Its guard's process id while it runs."""
        return self._process.guard_pid if self._process else None

    def start(self) -> None:
        """Start the server; it becomes ready later. Waits some seconds for a server of the same
        folder that is ending with an earlier node. Raises ConfigurationError."""
        if self._phase is not Phase.STOPPED:
            return
        self._server.prepare()
        give_up_at = time.monotonic() + self._patience.predecessor_s
        while (lock := self._files.try_lock()) is None:
            if time.monotonic() > give_up_at:
                raise ConfigurationError(
                    f"{self._files.path}: another {self._server.kind} is running on this folder: "
                    "end its node, or choose another --data-dir"
                )
            time.sleep(_POLL_S)
        self._launch(lock)

    def wait_ready(self, timeout_s: float) -> None:
        """Block until the server is ready. Raises ConfigurationError when it ended instead, and
        Unavailable when the time is over, both with the end of its log. Does not restart it."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            if self._process is None or (ended := self._process.poll()) is not None:
                how = ended if self._process else "not running"
                raise ConfigurationError(f"{self._server.kind} did not start ({how}){self._last_words()}")
            if self._server.answers(self._patience.probe_s):
                self._is_ready()
                return
            if time.monotonic() > give_up_at:
                raise Unavailable(
                    f"{self._server.kind} was not ready within {timeout_s} s{self._last_words()}"
                )
            self._process.poll(_POLL_S)

    def check(self) -> ServiceState:
        """See to the server once: notice its death, start it again when its back-off is over, and
        whether it answers. Takes `probe_s` at most, and never raises for a server in trouble."""
        if self._phase is Phase.STOPPED:
            return self._state()
        self.log.tell_new_lines()
        self.log.keep_small()
        if self._process is not None and (ended := self._process.poll()) is not None:
            self._has_ended(ended)
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self._restart()
        elif self._server.answers(self._patience.probe_s):
            self._is_ready()
        else:
            self._is_unready()
        return self._state()

    def stop(self) -> None:
        """End the server within the grace and 3 s. Idempotent; `start` may be called again."""
        if self._process is not None:
            self._process.stop()
            self.last_exit = self._process.exit or ""
            self._process = None
        self.log.tell_new_lines()
        self._phase, self._detail, self._ready_since = Phase.STOPPED, "", None
        self._back_off_s = 0.0

    def _launch(self, lock: int) -> None:
        """Start a process that holds `lock`, which is closed here. Raises ConfigurationError."""
        try:
            for place in self._server.listening():
                demand_free(place.address, place.port, place.flag)
            self.log.keep_small()
            output = self.log.open()
            try:
                self._process = GuardedProcess(
                    self._server.argv(),
                    clean_environment(),
                    cwd=self._files.path,
                    output=output,
                    held=lock,
                    grace_s=self._patience.stop_grace_s,
                )
            finally:
                os.close(output)
            self._process.poll(_LAUNCH_S)  # for the server's pid
        except OSError as error:
            raise ConfigurationError(f"{self._server.kind} cannot be started: {error}") from error
        finally:
            os.close(lock)
        self._phase, self._detail, self._ready_since = Phase.STARTING, "", None

    def _restart(self) -> None:
        lock = self._files.try_lock()
        if lock is None:  # the killed guard's server is a moment from its end
            self._detail = "the last one is still ending"
            return
        try:
            self._server.prepare()
        except ConfigurationError as error:
            os.close(lock)
            self._postpone(str(error))
            return
        try:
            self._launch(lock)
        except ConfigurationError as error:
            self._postpone(str(error))
        else:
            self.restarts += 1

    def _has_ended(self, how: str) -> None:
        self._process = None
        self.last_exit = how
        ready_since, self._ready_since = self._ready_since, None
        if ready_since is not None and time.monotonic() - ready_since >= self._patience.steady_s:
            self._back_off_s = 0.0
        self._postpone(f"{self._server.kind} ended ({how})")

    def _postpone(self, why: str) -> None:
        patience = self._patience
        self._phase, self._detail = Phase.WAITING, why
        self._back_off_s = min(max(self._back_off_s * 2, patience.restart_s), patience.restart_most_s)
        self._start_at = time.monotonic() + self._back_off_s

    def _is_ready(self) -> None:
        if self._phase is not Phase.READY:
            self._phase, self._detail = Phase.READY, ""
            self._ready_since = time.monotonic()

    def _is_unready(self) -> None:
        if self._phase is Phase.READY:
            self._phase = Phase.UNREADY
        self._detail = f"{self._server.kind} does not answer"

    def _last_words(self) -> str:
        return f"; the end of {self.log.path}:\n{self.log.last_lines(5)}"

    def _state(self) -> ServiceState:
        return ServiceState(phase=self._phase, pid=self.pid, restarts=self.restarts, detail=self._detail)
