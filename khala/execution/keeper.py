"""Keeps one live launcher per slot, gives them jobs and turns what they say into events.

All of it runs under the pool's lock, most of it in the pool's reader thread. A launcher that
dies loses its job as internal_error, told only when its processes and files are gone: the zygote
kills what it left before it reports the death, and the next launcher of the slot sweeps its
workspaces before it is ready. A zygote that dies is started again; its launchers live on, and each
is replaced by a child of the new one as soon as it is idle.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from khala.core.output import phases_of
from khala.core.task import ExitReason, OnDisconnect, Outcome, Phase
from khala.errors import Fault
from khala.execution.bounds import Unrunnable
from khala.execution.cgroup_tree import CgroupTree
from khala.execution.held_slot import Given, HeldSlot, key_of
from khala.execution.job import Job, JobEnded, JobReturned, LauncherEvent, OutputSpooled, PhaseStarted
from khala.execution.launching.framing import BadFrame, Header
from khala.execution.settings import ExecutionSettings
from khala.execution.slot_link import SlotLink
from khala.execution.wire import decode_done, decode_outcome, encode_abort, encode_job, encode_renewal
from khala.execution.zygote_process import ZygoteProcess

FIRST_RETRY_S = 0.05
LAST_RETRY_S = 5.0
ZYGOTE_STOPS_WITHIN_S = 10.0
REST_S, LONGEST_REST_S = 0.002, 0.025
"""How long ends may wait to be read, for each job that a slot has ahead, and at most."""


class Keeper:
    """The launchers of all slots. `tell` gets every event."""

    def __init__(
        self,
        settings: ExecutionSettings,
        selector: selectors.BaseSelector,
        kept_fds: Sequence[int],
        cgroups: CgroupTree | None,
        tell: Callable[[LauncherEvent], None],
    ) -> None:
        self._settings = settings
        self._selector = selector
        self._kept_fds = tuple(kept_fds)
        self._cgroups = cgroups
        self._tell = tell
        self._slots = [HeldSlot(number=number) for number in range(settings.slots)]
        self._launches = 0
        self._zygotes = 0
        self._zygote_deaths = 0
        self._zygote_at_s = 0.0
        self._zygote: ZygoteProcess | None = None
        self._deadline_s: float | None = None
        self._log = structlog.get_logger(__name__)

    def start(self) -> None:
        """Start the zygote and ask for all launchers. Fault if it cannot be started."""
        self._start_zygote()
        for slot in self._slots:
            self._launch(slot)

    @property
    def ready(self) -> bool:
        """Has every slot a launcher that takes jobs?"""
        return all(slot.ready for slot in self._slots)

    @property
    def pids(self) -> tuple[int, ...]:
        """The running zygote's pid, if there is one."""
        return () if self._zygote is None else (self._zygote.pid,)

    def stop(self) -> None:
        """Let go of all launchers and the zygote, and wait until they have ended."""
        for slot in self._slots:
            self._drop_link(slot)
        if self._zygote is not None:
            self._selector.unregister(self._zygote)
            self._zygote.stop(ZYGOTE_STOPS_WITHIN_S)
            self._zygote = None

    def first_job(self, number: int) -> Job | None:
        """What runs in a slot, or will as soon as its launcher can."""
        jobs = self._slots[number].jobs
        return jobs[0].job if jobs else None

    def run(self, number: int, job: Job) -> None:
        """Give a job to a slot, after those that it has; it waits while the launcher is being replaced."""
        slot = self._slots[number]
        slot.jobs.append(Given(job))
        self._send_jobs(slot)

    def abort(self, number: int, key: tuple[str, int], kill_grace_s: float) -> None:
        """Abort this job of the slot's, if it still has it."""
        slot = self._slots[number]
        given = next((given for given in slot.jobs if key_of(given.job) == key), None)
        if given is None:
            return
        if not given.sent:
            given.started_at = time.time()
            self._end(slot, given, Outcome(
                exit_reason=ExitReason.CANCELLED, reason="aborted before it started", finished_at=time.time()
            ))  # fmt: skip
        elif slot.link is not None:
            slot.link.send(encode_abort(given.job, kill_grace_s))

    def rest_s(self) -> float:
        """How long the launchers have enough to do for nobody to hear them, in seconds."""
        ahead = [len(slot.jobs) - 1 for slot in self._slots if slot.jobs]
        if not self.ready or any(slot.link is not None and slot.link.waits_to_send for slot in self._slots):
            return 0.0
        return min(LONGEST_REST_S, REST_S * min(ahead, default=0))

    def renew(self, deadline_s: float) -> None:
        """Let jobs that must not outlive this executor's lease run until then (CLOCK_BOOTTIME)."""
        self._deadline_s = deadline_s
        for slot in self._slots:
            stops = slot.runs and slot.jobs[0].job.spec.on_disconnect is OnDisconnect.STOP
            if stops and slot.link is not None:
                slot.link.send(encode_renewal(deadline_s))

    def pause_s(self) -> float | None:
        """How long until `tend` has something to do; None: until something else happens."""
        due = [slot.launch_at_s for slot in self._slots if slot.launch_at_s is not None]
        if self._zygote is None:
            due = [self._zygote_at_s]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def tend(self) -> None:
        """Start again what is due."""
        now_s = time.monotonic()
        if self._zygote is None and now_s >= self._zygote_at_s:
            try:
                self._start_zygote()
            except Fault as fault:
                self._log.error("zygote not started, trying again", reason=str(fault))
                self._zygote_gone()
        for slot in self._slots:
            if slot.launch_at_s is not None and now_s >= slot.launch_at_s:
                self._launch(slot)

    def _start_zygote(self) -> None:
        self._zygote = ZygoteProcess(self._kept_fds)
        self._zygotes += 1
        self._selector.register(self._zygote, selectors.EVENT_READ, self._read_notices)

    def _read_notices(self) -> None:
        if self._zygote is None:
            return
        notices = self._zygote.read_notices()
        if notices is None:
            self._selector.unregister(self._zygote)
            self._zygote.stop(1.0)
            self._log.error("the zygote died and is started again")
            self._zygote_gone()
            return
        for notice in notices:
            self._heed(notice)

    def _zygote_gone(self) -> None:
        self._zygote = None
        self._zygote_deaths += 1
        self._zygote_at_s = time.monotonic() + _back_off_s(self._zygote_deaths)
        for slot in self._slots:
            if slot.link is None or not slot.runs:
                self._replace(slot)

    def _heed(self, notice: dict[str, Any]) -> None:
        launch = notice.get("died", notice.get("failed"))
        slot = next((slot for slot in self._slots if slot.launch == launch), None)
        if slot is None:
            return
        if slot.link is not None:
            # What it sent before it died counts.
            self._read_link(slot)
        if slot.launch == launch:
            self._bury(slot, notice.get("reason") or _how_it_ended(notice["status"]))

    def _bury(self, slot: HeldSlot, why: str) -> None:
        """The slot's launcher is dead and its processes are gone."""
        self._drop_link(slot)
        if not slot.garbled:
            slot.take_back()
        slot.deaths += 1
        slot.lost = f"the slot's launcher {why}"
        slot.launch_at_s = time.monotonic() + (_back_off_s(slot.deaths - 1) if slot.deaths > 1 else 0.0)
        self._log.error("launcher lost", slot=slot.number, reason=slot.lost)

    def _replace(self, slot: HeldSlot) -> None:
        """Let go of an idle launcher, or of one that is gone, and get another."""
        self._drop_link(slot)
        slot.lost = slot.lost or "the slot's launcher and the zygote ended"
        slot.launch_at_s = time.monotonic()

    def _launch(self, slot: HeldSlot) -> None:
        if self._zygote is None:
            return
        slot.launch_at_s = None
        self._launches += 1
        slot.launch = self._launches
        slot.zygote = self._zygotes
        try:
            sock = self._zygote.launch(self._request(slot))
        except OSError as error:
            self._bury(slot, f"could not be asked for: {error}")
            return
        slot.link = SlotLink(sock, self._selector, partial(self._read_link, slot))

    def _request(self, slot: HeldSlot) -> dict[str, Any]:
        settings = self._settings
        return {
            "launch": slot.launch,
            "slot": slot.number,
            "slots": settings.slots,
            "root": str(settings.workspace_root.absolute()),
            "owner": settings.slot_owner(slot.number),
            "uid_is_own": settings.shared_owner is None,
            "group": None if self._cgroups is None else self._cgroups.request(slot.number),
            "bwrap": settings.bwrap,
            "shown_paths": list(settings.shown_paths),
            "tmpfs_bytes": settings.tmpfs_bytes,
            # Without SHELL, bash asks the name service who it is, which takes longer than it runs.
            "env": {"PATH": settings.path, "LANG": "C.UTF-8", "SHELL": "/bin/bash", **settings.env},
            "head_bytes": settings.capture_head_bytes,
            "tail_bytes": settings.capture_tail_bytes,
            "reserve_bytes": settings.reserve_bytes,
            "kill_grace_s": settings.kill_grace_s,
            "spool_root": "" if settings.spool_root is None else str(settings.spool_root.absolute()),
            "stored_bytes": settings.stored_output_bytes,
            "kept_bytes": settings.kept_files_bytes,
        }

    def _read_link(self, slot: HeldSlot) -> None:
        link = slot.link
        if link is None:
            return
        try:
            link.flush()
            for header, blobs in link.frames():
                self._take(slot, header, blobs)
                if slot.link is not link:
                    return
        except BadFrame as why:
            self._log.error("launcher dropped", slot=slot.number, reason=str(why))
            slot.garbled = True
            self._drop_link(slot)
        if link.closed_by_launcher:
            self._drop_link(slot)
        if slot.link is None and (self._zygote is None or slot.zygote != self._zygotes):
            self._bury(slot, "ended after its zygote had died")

    def _take(self, slot: HeldSlot, header: Header, blobs: list[bytes]) -> None:
        if "done" in header:
            task_id, attempt, outcome = decode_done(header, blobs)
            self._take_outcome(slot, self._job_of(slot, task_id, attempt), outcome)
        elif "ready" in header:
            self._take_ready(slot)
        elif "phase" in header:
            self._take_phase(slot, header)
        elif "spooled" in header:
            self._take_spooled(slot, header)
        elif "ended" in header:
            self._take_end(slot, header, blobs)
        elif "returned" in header:
            self._take_returned(slot, header)
        else:
            raise BadFrame(f"a frame of no known kind: {sorted(header)}")

    def _take_ready(self, slot: HeldSlot) -> None:
        slot.ready, slot.garbled, slot.deaths, self._zygote_deaths = True, False, 0, 0
        why, slot.lost = slot.lost, ""
        while slot.runs:
            self._end(slot, slot.jobs[0], Outcome(
                exit_reason=ExitReason.INTERNAL_ERROR, reason=why, phase=slot.phase, finished_at=time.time()
            ))  # fmt: skip
        self._send_jobs(slot)

    def _take_phase(self, slot: HeldSlot, header: Header) -> None:
        job = self._job_of(slot, header["task_id"], header["attempt"])
        self._enter(slot, job, Phase(header["phase"]), header["at"])

    def _enter(self, slot: HeldSlot, job: Job, phase: Phase, at: float, *, over: bool = False) -> None:
        slot.phase = phase
        self._tell(PhaseStarted(
            slot=slot.number, task_id=job.task_id, attempt=job.attempt, phase=phase, at=at, over=over
        ))  # fmt: skip

    def _take_spooled(self, slot: HeldSlot, header: Header) -> None:
        job = self._job_of(slot, header["task_id"], header["attempt"])
        self._tell(OutputSpooled(
            slot=slot.number, task_id=job.task_id, attempt=job.attempt, phase=Phase(header["spooled"]),
            stdout_bytes=header["stdout"], stderr_bytes=header["stderr"],
        ))  # fmt: skip

    def _take_end(self, slot: HeldSlot, header: Header, blobs: list[bytes]) -> None:
        end = header["ended"]
        job = self._job_of(slot, end["task_id"], end["attempt"])
        self._take_outcome(slot, job, decode_outcome(end, blobs), leaving=header["leaving"])

    def _take_outcome(self, slot: HeldSlot, job: Job, outcome: Outcome, *, leaving: bool = False) -> None:
        for phase, part in phases_of(outcome.result):
            if slot.phase not in (phase, Phase.EXECUTE):
                self._enter(slot, job, phase, part.started_at, over=True)
        if leaving:
            slot.ready = False
            slot.take_back()
        elif self._is_stale(slot) and not slot.has_ahead:
            self._replace(slot)
        self._end(slot, slot.jobs[0], outcome)

    def _take_returned(self, slot: HeldSlot, header: Header) -> None:
        """The last one first: each is to be taken up again before those that came after it."""
        returned = {(task_id, attempt) for task_id, attempt in header["returned"]}
        behind = [given for given in slot.behind if key_of(given.job) in returned]
        if len(behind) != len(returned):
            raise BadFrame("jobs come back that the slot does not have")
        for given in reversed(behind):
            slot.jobs.remove(given)
            job = given.job
            self._tell(JobReturned(slot=slot.number, task_id=job.task_id, attempt=job.attempt))

    def _job_of(self, slot: HeldSlot, task_id: str, attempt: int) -> Job:
        if not slot.runs or (task_id, attempt) != key_of(slot.jobs[0].job):
            raise BadFrame("a frame about a job that the slot does not run")
        return slot.jobs[0].job

    def _is_stale(self, slot: HeldSlot) -> bool:
        """Is its launcher the child of a zygote that is gone? It is replaced as soon as it is idle."""
        return slot.zygote != self._zygotes or self._zygote is None

    def _send_jobs(self, slot: HeldSlot) -> None:
        while (given := slot.first_unsent) is not None:
            if not slot.ready or slot.link is None or (slot.runs and self._is_stale(slot)):
                return
            given.started_at = time.time()
            try:
                frame = encode_job(given.job, self._settings, self._deadline_s)
            except Unrunnable as why:
                self._end(slot, given, Outcome(
                    exit_reason=ExitReason.SETUP_FAILED, reason=str(why), finished_at=time.time()
                ))  # fmt: skip
                continue
            given.sent = True
            slot.link.send(frame)

    def _end(self, slot: HeldSlot, given: Given, outcome: Outcome) -> None:
        if slot.jobs[0] is given:
            slot.phase = None
        slot.jobs.remove(given)
        self._tell(JobEnded(
            slot=slot.number, task_id=given.job.task_id, attempt=given.job.attempt,
            started_at=given.started_at, outcome=outcome,
        ))  # fmt: skip

    def _drop_link(self, slot: HeldSlot) -> None:
        slot.ready = False
        if slot.link is not None:
            slot.link.close()
            slot.link = None


def _back_off_s(failures: int) -> float:
    return min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures, 10))


def _how_it_ended(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"exited with code {status}"
