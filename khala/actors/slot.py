"""One slot of an executor, for what may block: an attempt from its stored files to its verdict.

Its thread may block while stored files are fetched, which holds up nobody but the attempt that needs
them. The commands themselves run in the slot's launcher process. A fault here ends the node: the
executor would wait for an end that nobody tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from khala.actors.actor import NodeActor, Stage
from khala.actors.executor_messages import AttemptEnded, RunAttempt, StopRunning
from khala.bus.envelope import Envelope
from khala.core.files import file_ids_of
from khala.core.output import StreamKey, capture_of
from khala.core.task import ExitReason, Outcome, Phase
from khala.core.verdict import captured_whole, judged
from khala.errors import Fault, Refusal, Unavailable
from khala.execution.job import Job, JobEnded
from khala.execution.pool import LauncherPool
from khala.execution.spools import Spools

FetchFile = Callable[[str], Path]
"""Make a stored file available on this host until it is released; raises Refusal, Unavailable or OSError."""
ReleaseFile = Callable[[str], None]


class Slot(NodeActor):
    """`fetch` and `release` bracket each use of a stored file. Essential: never started again."""

    def __init__(
        self,
        stage: Stage,
        *,
        number: int,
        pool: LauncherPool,
        spools: Spools,
        fetch: FetchFile,
        release: ReleaseFile,
    ) -> None:
        super().__init__(stage, f"slot-{number}")
        self._number = number
        self._pool = pool
        self._spools = spools
        self._fetch = fetch
        self._release = release
        self._running: RunAttempt | None = None
        self._held: list[str] = []

    def end(self) -> None:
        """Let the files go; what still runs is the launcher's."""
        self._release_files()

    def handle_run_attempt(self, run: RunAttempt, envelope: Envelope) -> None:
        """Fetch what it needs, then give it to the launcher."""
        if self._running is not None:
            raise Fault(f"slot {self._number} has {self._running.task_id}, cannot take {run.task_id}")
        self._running = run
        files = {}
        try:
            for file_id in file_ids_of(run.spec):
                files[file_id] = self._fetch(file_id)
                self._held.append(file_id)
        except (Refusal, Unavailable, OSError) as why:
            self._end(
                Outcome(
                    exit_reason=ExitReason.SETUP_FAILED,
                    reason=f"a stored file could not be fetched: {why}",
                    finished_at=self.now().unix_s,
                )
            )
            return
        self._pool.run(
            self._number, Job(task_id=run.task_id, attempt=run.attempt, spec=run.spec, files=files)
        )

    def handle_stop_running(self, stop: StopRunning, envelope: Envelope) -> None:
        """End it, if it is still the one that runs."""
        running = self._running
        if running is not None and (running.task_id, running.attempt) == (stop.task_id, stop.attempt):
            self._pool.abort(self._number)

    def handle_job_ended(self, ended: JobEnded, envelope: Envelope) -> None:
        """The launcher is done, and nothing of the attempt is left."""
        running = self._running
        if running is None or (running.task_id, running.attempt) != (ended.task_id, ended.attempt):
            raise Fault(f"slot {self._number} does not run attempt {ended.attempt} of {ended.task_id}")
        self._end(self._judged(running, ended.outcome))

    def _judged(self, run: RunAttempt, outcome: Outcome) -> Outcome:
        """The verdict is given here, where the output is; it may take a while and holds up no other slot."""
        try:
            return judged(outcome, run.spec, self._whole_stdout(run, outcome))
        except (OSError, Unavailable) as why:
            self.log.error("a spool cannot be judged", task_id=run.task_id, reason=str(why))
            return judged(outcome, run.spec, None)

    def _whole_stdout(self, run: RunAttempt, outcome: Outcome) -> Iterable[bytes] | None:
        """What execute wrote, or None when that is nowhere whole."""
        stdout = capture_of(outcome.result, Phase.EXECUTE, "stdout")
        if stdout is None or stdout.stored_bytes < stdout.size:
            return None if stdout is None else captured_whole(stdout)
        key = StreamKey(task_id=run.task_id, attempt=run.attempt, phase=Phase.EXECUTE, stream="stdout")
        return self._spools.chunks(key, stdout.size)

    def _end(self, outcome: Outcome) -> None:
        run, self._running = self._running, None
        self._release_files()
        if run is not None:
            self.tell("executor", AttemptEnded(self._number, run.task_id, run.attempt, outcome))

    def _release_files(self) -> None:
        held, self._held = self._held, []
        for file_id in held:
            self._release(file_id)
