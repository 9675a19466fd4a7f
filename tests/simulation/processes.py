"""The simulated slots of one executor: processes that run for a while, on whatever happens to the node.

A launcher is a process of its own: it notices when its executor dies, and ends a `stop` task at the
deadline that the executor renewed last (P11), also while the executor is stopped. What it was given ahead it
begins by itself, or gives back if the one before takes long.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from history.records import ProcessBegan, ProcessEnded
from simulation.outputs import with_output

from khala.core.effects import StartAttempt
from khala.core.task import ExitReason, OnDisconnect, Outcome, Phase, PhaseResult, Result

if TYPE_CHECKING:
    from simulation.executor import Executor

POISON = "poison"
COMPILES = "compiles"
FAILS = "fails"
GIVES_BACK_AFTER_S = 1.0


@dataclass(slots=True)
class Process:
    """One attempt that runs; `writes` bytes of output in all, of which `wrote` are spooled."""

    effect: StartAttempt
    stops: bool
    writes: int
    began_at: float
    wrote: int = 0
    over: bool = False


class Processes:
    """What runs on one executor's host."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.world = executor.world
        self.clockwork = executor.clockwork
        self.running: dict[tuple[str, int], Process] = {}
        self.ahead: dict[int, deque[StartAttempt]] = defaultdict(deque)

    def start(self, effect: StartAttempt) -> None:
        """Run an attempt, or keep it until those before it in its slot have ended."""
        if any(process.effect.slot == effect.slot for process in self.running.values()):
            if not effect.ahead:
                raise AssertionError(f"slot {effect.slot} of {self.executor.name} is busy")
            self.world.happened("given ahead")
            self.ahead[effect.slot].append(effect)
        else:
            self._begin(effect)

    def _begin(self, effect: StartAttempt) -> None:
        spec, executor = effect.spec, self.executor
        writes = self.clockwork.rng.randint(1, 60) if self.clockwork.chance(0.4) else 0
        stops = spec.on_disconnect == OnDisconnect.STOP
        process = Process(effect, stops, writes, self.clockwork.now_s)
        self.running[(effect.task_id, effect.attempt)] = process
        resources = spec.resources
        self.world.record(
            ProcessBegan(
                self.clockwork.now_s,
                executor.name,
                effect.task_id,
                effect.attempt,
                resources.cpus,
                resources.memory_bytes,
                effect.epoch.generation,
            )
        )
        if process.stops and executor.deadline_s() <= self.clockwork.now_s:
            self._cut_off(process)
            return
        kind = spec.labels.get("kind", "")
        takes_s = self.world.duration_s(spec)
        if kind == POISON:
            self.clockwork.after(takes_s / 4, self._poison, process)
        if kind == COMPILES:
            executor.post(0.0, executor.phase, effect, Phase.COMPILE)
            self.clockwork.after(takes_s / 2, self._compiled, process)
        if writes:
            self.clockwork.after(takes_s / 3, self._write, process)
        self.clockwork.after(takes_s, self._finish, process, kind == FAILS)
        self.clockwork.after(GIVES_BACK_AFTER_S, self._give_back, process)

    def _give_back(self, process: Process) -> None:
        """The process takes long: those behind it are better off elsewhere."""
        ahead = self.ahead[process.effect.slot]
        while ahead and not process.over:
            self.world.happened("given back by a slot")
            self.executor.post(0.0, self.executor.given_back, ahead.pop())

    def stop(self, task_id: str, attempt: int) -> None:
        """End an attempt's process tree, which takes a moment."""
        process = self.running.get((task_id, attempt))
        if process is not None:
            self.clockwork.after(self.clockwork.between(0.0, 0.3), self._end, process, ExitReason.SIGNALED)
        for ahead in self.ahead.values():
            for effect in [each for each in ahead if (each.task_id, each.attempt) == (task_id, attempt)]:
                self.world.happened("stopped before its turn in a slot")
                ahead.remove(effect)
                reason = ExitReason.CANCELLED
                outcome = Outcome(exit_reason=reason, reason="not begun", finished_at=self.clockwork.now_s)
                self.executor.post(0.0, self.executor.ended, effect, outcome, False)

    def executor_died(self) -> None:
        """The launchers notice the closed pipe and end what they run."""
        self.ahead.clear()
        for process in list(self.running.values()):
            self._over(process)

    def deadline_passed(self) -> None:
        """End what may not run without a lease."""
        for process in list(self.running.values()):
            if process.stops:
                self._cut_off(process)

    def _cut_off(self, process: Process) -> None:
        self.world.happened("stop task ended at its deadline")
        self._end(process, ExitReason.EXECUTOR_LOST)

    def _poison(self, process: Process) -> None:
        if not process.over:
            self.world.happened("task killed its executor")
            self.executor.crash_for(self.clockwork.between(0.3, 1.0))

    def _write(self, process: Process) -> None:
        if not process.over:
            process.wrote = self.clockwork.rng.randint(1, process.writes)
            self.executor.delivering.wrote(process.effect, process.wrote)

    def _compiled(self, process: Process) -> None:
        if not process.over:
            self.executor.post(0.0, self.executor.phase, process.effect, Phase.EXECUTE)

    def _finish(self, process: Process, fails: bool) -> None:
        if not process.over:
            self._over(process)
            outcome = Outcome(
                exit_reason=ExitReason.EXITED,
                succeeded=not fails,
                finished_at=self.clockwork.now_s,
                result=Result(
                    execute=PhaseResult(exit_reason=ExitReason.EXITED, started_at=process.began_at)
                ),
            )
            if process.writes:
                process.wrote = process.writes
                self.executor.delivering.wrote(process.effect, process.writes)
                outcome = with_output(outcome, process.effect, process.writes)
            self._tell(process, outcome)

    def _end(self, process: Process, why: ExitReason) -> None:
        if not process.over:
            self._over(process)
            self._tell(
                process,
                Outcome(exit_reason=why, reason=f"ended: {why}", finished_at=self.clockwork.now_s),
            )

    def _tell(self, process: Process, outcome: Outcome) -> None:
        self.executor.post(0.0, self.executor.ended, process.effect, outcome, bool(process.wrote))
        ahead = self.ahead[process.effect.slot]
        if ahead:
            self._begin(ahead.popleft())

    def _over(self, process: Process) -> None:
        process.over = True
        effect = process.effect
        del self.running[(effect.task_id, effect.attempt)]
        self.world.record(
            ProcessEnded(self.clockwork.now_s, self.executor.name, effect.task_id, effect.attempt)
        )
