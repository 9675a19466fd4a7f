"""What an executor runs in its slots: the plain attempts in its own thread, the others through their actors.

An attempt is plain if it needs no stored file and no verdict: starting it and taking its end wait for
nothing, so that it needs no thread besides the executor's. The executor's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from khala.actors.executor_messages import AttemptEnded, RunAttempt, SpoolGrew, StopRunning
from khala.core.effects import StartAttempt, StopAttempt
from khala.core.execution.lanes import is_plain
from khala.errors import Fault
from khala.execution.job import Job, JobEnded, JobReturned, OutputSpooled
from khala.execution.pool import LauncherPool


@dataclass(slots=True)
class _Run:
    """One attempt. `spooled`: some of its output is in a spool."""

    start: StartAttempt
    plain: bool
    spooled: bool = False


class Running:
    """The attempts in all slots. `command` gives a message to the actor of a slot."""

    def __init__(self, pool: LauncherPool, command: Callable[[int, object], None]) -> None:
        self._pool = pool
        self._command = command
        self._runs: dict[tuple[str, int], _Run] = {}

    def start(self, start: StartAttempt) -> None:
        """Run it in its slot, or have it wait there. Fault if it has been given to a slot already."""
        key = (start.task_id, start.attempt)
        if key in self._runs:
            raise Fault(f"slot {self._runs[key].start.slot} has attempt {start.attempt} of {start.task_id}")
        run = self._runs[key] = _Run(start, plain=is_plain(start.spec))
        if run.plain:
            job = Job(task_id=start.task_id, attempt=start.attempt, spec=start.spec)
            self._pool.run(start.slot, job, ahead=start.ahead)
        else:
            self._command(start.slot, RunAttempt(start.task_id, start.attempt, start.spec))

    def stop(self, stop: StopAttempt) -> None:
        """End it, if its slot still has it."""
        run = self._runs.get((stop.task_id, stop.attempt))
        if run is None:
            return
        if run.plain:
            self._pool.abort(stop.slot, (stop.task_id, stop.attempt))
        else:
            self._command(stop.slot, StopRunning(stop.task_id, stop.attempt))

    def spooled(self, spooled: OutputSpooled) -> SpoolGrew:
        """Some of its output is in a spool from now on: what to tell the delivery."""
        run = self._run_of(spooled.slot, spooled.task_id, spooled.attempt)
        run.spooled = True
        return SpoolGrew(spooled, run.start.epoch)

    def job_ended(self, ended: JobEnded) -> AttemptEnded | None:
        """The launcher is done; None if the slot's actor has to say how the attempt ended."""
        run = self._run_of(ended.slot, ended.task_id, ended.attempt)
        if not run.plain:
            self._command(ended.slot, ended)
            return None
        return AttemptEnded(ended.slot, ended.task_id, ended.attempt, ended.outcome)

    def forget(self, ended: AttemptEnded) -> bool:
        """The slot is free again; is there a spool of the attempt? A launcher that died may have left output
        files that no outcome tells of."""
        run = self._run_of(ended.slot, ended.task_id, ended.attempt)
        del self._runs[(ended.task_id, ended.attempt)]
        return run.spooled or bool(run.start.spec.outputs)

    def returned(self, returned: JobReturned) -> None:
        """Its slot gave it back, and it has not begun."""
        self._run_of(returned.slot, returned.task_id, returned.attempt)
        del self._runs[(returned.task_id, returned.attempt)]

    def _run_of(self, slot: int, task_id: str, attempt: int) -> _Run:
        run = self._runs.get((task_id, attempt))
        if run is None or run.start.slot != slot:
            raise Fault(f"slot {slot} does not run attempt {attempt} of {task_id}")
        return run
