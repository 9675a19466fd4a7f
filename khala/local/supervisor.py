"""The process behind `khala up`: starts the roles in order, restarts what dies, stops in reverse order.

One thread. It owns the data directory's lock and `cluster.json`. It decides nothing about tasks, and
the cluster does not need it: when it is killed, the roles notice the closed pipe and end.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from khala.client import Client
from khala.errors import KhalaError, Refusal, Unavailable
from khala.local.data_directory import DataDirectory
from khala.local.identity import identity_of
from khala.local.plan import RolePlan
from khala.local.ports import answers
from khala.local.record import ClusterRecord, write_record
from khala.local.role_process import LOG_BYTES, RoleProcess, describe_exit
from khala.local.stop_signals import StopSignals
from khala.services.departure import has_left
from khala.services.log_file import LogFile

_TICK_S = 0.1
_CALM_TICK_S = 1.0
_TRIES_AT_START = 4
_SILENT_S = 1.5
_STOP_ORDER = ("gateway", "executor", "judicator")
_CONFIGURATION_EXIT = 2
_STRENGTH_WITHIN_S = 45.0

Say = Callable[[str], None]


class StartFailed(KhalaError):
    """The cluster did not come up; the message has the reason and the next step."""


class Interrupted(KhalaError):
    """The operator asked to stop before the cluster was ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each step may take, in seconds."""

    start_s: float = 180.0
    stop_s: float = 20.0


class ClusterSupervisor:
    """One run of a local cluster, from its start to its end.

    `command` is what runs a role, followed by the role's name and flags; `say` gets one line at a
    time for the operator; `when_ready` is called once, with the record of the ready cluster.
    """

    def __init__(
        self,
        directory: DataDirectory,
        plans: Sequence[RolePlan],
        record: ClusterRecord,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        say: Say,
        when_ready: Callable[[ClusterRecord], None],
        patience: Patience,
    ) -> None:
        self._directory = directory
        self._record = record
        self._say = say
        self._when_ready = when_ready
        self._patience = patience
        self._unsaved = False
        self._processes = [
            RoleProcess(plan, command, environment, directory.log(plan.name)) for plan in plans
        ]
        own = LogFile(directory.log("up"), max_bytes=LOG_BYTES)
        self._logs = [own, *(process.log_file for process in self._processes)]

    def run(self) -> None:
        """Run the cluster until a signal; raises StartFailed or Interrupted if it never was ready."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        with StopSignals() as signals:
            try:
                self._bring_up(reading, signals)
                self._watch(reading, signals)
            finally:
                self._save("stopping")
                self._stop(signals)
                self._save("stopped")
                os.close(reading)
                os.close(writing)

    def _bring_up(self, pipe: int, signals: StopSignals) -> None:
        self._save("starting")
        for role, what in (
            ("judicator", "etcd, mongod and the judicator"),
            ("executor", ""),
            ("gateway", ""),
        ):
            for process in self._of(role):
                self._say(f"starting {process.plan.name}{f' ({what})' if what else ''}")
                process.start(pipe)
                self._save("starting")
            if role == "judicator":  # only together do they become ready
                for process in self._of(role):
                    self._until(pipe, signals, self._listening(process), process.plan.name)
        self._say("waiting until the cluster accepts tasks")
        with Client(self._record.gateway, self._record.token, patience_s=0.0, timeout_s=5.0) as client:
            self._until(pipe, signals, lambda: _accepts(client.ready), "the gateway")
            wanted = len(self._of("executor"))
            reported = partial(_accepts, lambda: sum(e["slots"] > 0 for e in client.executors()) >= wanted)
            self._until(pipe, signals, reported, "the executors")
            self._gather_strength(pipe, signals, client)
        self._save("ready")
        self._when_ready(self._record)

    def _gather_strength(self, pipe: int, signals: StopSignals, client: Client) -> None:
        """Wait until the cluster survives as many losses as it should; a while, for it works already."""
        losses = (len(self._of("judicator")) - 1) // 2
        strong = partial(_accepts, lambda: client.cluster()["survives"] >= losses)
        if losses and not strong():
            self._say("waiting until every judicator has the data")
            try:
                self._until(pipe, signals, strong, "a judicator", within_s=_STRENGTH_WITHIN_S)
            except StartFailed as slow:
                self._say(f"{slow}; the cluster works without it (`khala judicators` shows which)")

    def _watch(self, pipe: int, signals: StopSignals) -> None:
        while not signals.count:
            pending = self._mend(pipe, "ready")
            for log in self._logs:
                log.keep_small()
            signals.wait(_TICK_S if pending else _CALM_TICK_S)

    def _until(
        self,
        pipe: int,
        signals: StopSignals,
        reached: Callable[[], bool],
        what: str,
        *,
        within_s: float | None = None,
    ) -> None:
        within_s = self._patience.start_s if within_s is None else within_s
        deadline = time.monotonic() + within_s
        while not reached():
            if signals.count:
                raise Interrupted("stopped before the cluster was ready")
            self._mend(pipe, "starting")
            self._give_up_on_hopeless()
            if time.monotonic() > deadline:
                logs = self._directory.log("*").parent
                raise StartFailed(f"{what} was not ready within {within_s:g} s: see {logs}")
            signals.wait(_TICK_S)

    def _mend(self, pipe: int, state: str) -> bool:
        """Notice dead processes, start them again when their pause is over; True while one is missing."""
        changed = False
        for process in self._processes:
            if process.found_dead():
                changed = True
                stopped = process.plan.role == "judicator" and process.last_code == 0
                process.left = stopped and has_left(self._directory.path / process.plan.name)
                self._say(
                    f"{process.plan.name} ended ({describe_exit(process.last_code)}); see {process.log}"
                )
            elif not process.left and process.last_code is not None and process.restart_if_due(pipe):
                changed = True
                self._say(f"started {process.plan.name} again (restart {process.restarts})")
        if changed or self._unsaved:
            self._save(state)
        return any(not process.running and not process.left for process in self._processes)

    def _give_up_on_hopeless(self) -> None:
        for process in self._processes:
            wrong_settings = process.last_code == _CONFIGURATION_EXIT
            if not process.running and (wrong_settings or process.restarts >= _TRIES_AT_START):
                raise StartFailed(
                    f"{process.plan.name} does not start ({describe_exit(process.last_code)}): "
                    f"{_last_line(process)}: see {process.log}"
                )

    def _stop(self, signals: StopSignals) -> None:
        """Stop role by role; whatever outlives its time, or the operator's patience, is killed."""
        for role in _STOP_ORDER:
            group = [process for process in self._of(role) if process.running]
            for process in group:
                self._say(f"stopping {process.plan.name}")
                process.ask_to_stop()
            started = time.monotonic()
            deadline, told = started + self._patience.stop_s, False
            while group and time.monotonic() < deadline and signals.count <= 1:
                group = [process for process in group if not process.found_dead()]
                if group:
                    signals.wait(_TICK_S)
                if group and not told and time.monotonic() > started + _SILENT_S:
                    told = True
                    self._say(f"waiting up to {self._patience.stop_s:g} s for it (again Ctrl-C: not waiting)")
            for process in group:
                why = "asked again" if signals.count > 1 else "did not stop in time"
                self._say(f"{process.plan.name} {why}: killing it")
                process.kill()

    def _of(self, role: str) -> list[RoleProcess]:
        return [process for process in self._processes if process.plan.role == role]

    def _listening(self, process: RoleProcess) -> Callable[[], bool]:
        return lambda: process.running and answers(process.plan.port)

    def _save(self, state: str) -> None:
        running = state != "stopped"
        self._record = dataclasses.replace(
            self._record,
            state=state,
            supervisor=identity_of(os.getpid()) if running else None,
            processes=tuple(process.record() for process in self._processes),
        )
        try:
            write_record(self._directory.path, self._record)
            self._unsaved = False
        except OSError as failure:
            # A full disk must not end a cluster that runs, nor keep it from being stopped.
            if not self._unsaved:
                self._say(f"cannot write in {self._directory.path}: {failure.strerror}: make room")
            self._unsaved = True


def _accepts(question: Callable[[], bool]) -> bool:
    """Ask a cluster that may not be there yet."""
    try:
        return question()
    except Unavailable:
        return False
    except Refusal as refused:
        raise StartFailed(
            f"the gateway refuses this cluster's own token ({refused.detail}): was cluster.json of an "
            "earlier cluster deleted? Give another --data-dir"
        ) from refused


def _last_line(process: RoleProcess) -> str:
    lines = [line for line in process.log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
