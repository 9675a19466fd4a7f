"""The verdict on an attempt: what its end and its output say together. Pure.

The verdict never changes the state: a task that exits with 0 and a wrong answer has succeeded. Without an
`expected_output` nothing is judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from khala.core.checking import first_difference
from khala.core.task import ExitReason, Outcome, Result, StreamCapture, TaskSpec, Verdict

NOT_WHOLE = "not judged: the output of {size} bytes was not kept whole on the executor"

_ENDED_BY_LIMIT = {
    ExitReason.WALL_TIME_LIMIT: Verdict.TIME_LIMIT_EXCEEDED,
    ExitReason.CPU_TIME_LIMIT: Verdict.TIME_LIMIT_EXCEEDED,
    ExitReason.MEMORY_LIMIT: Verdict.MEMORY_LIMIT_EXCEEDED,
    ExitReason.OUTPUT_LIMIT: Verdict.OUTPUT_LIMIT_EXCEEDED,
}
_NOT_THE_PROGRAMS = (ExitReason.CANCELLED, ExitReason.SETUP_FAILED, ExitReason.INTERNAL_ERROR)


def judged(outcome: Outcome, spec: TaskSpec, stdout: Iterable[bytes] | None) -> Outcome:
    """`outcome` with its verdict, and the first difference if the answer is wrong.

    `stdout` is the whole output of the execute phase in chunks; it is read only if it decides. None when
    nobody has the whole of it: then the reason says why it was not judged.
    """
    result = outcome.result
    if spec.expected_output is None or result is None:
        return outcome
    verdict = _verdict_by_end(outcome, result)
    if verdict is not None or result.execute is None:
        return replace(outcome, result=replace(result, verdict=verdict or Verdict.NOT_JUDGED))
    if stdout is None:
        why = NOT_WHOLE.format(size=result.execute.stdout.size)
        return replace(outcome, reason=outcome.reason or why)
    difference = first_difference(spec.expected_output, stdout, spec.checker, spec.checker_tolerance)
    verdict = Verdict.ACCEPTED if difference is None else Verdict.WRONG_ANSWER
    return replace(outcome, result=replace(result, verdict=verdict, difference=difference))


def captured_whole(stream: StreamCapture) -> tuple[bytes, ...] | None:
    """The whole stream out of its head and tail, or None when something is between them."""
    return None if stream.left_out else (stream.head, stream.tail)


def _verdict_by_end(outcome: Outcome, result: Result) -> Verdict | None:
    """What the end alone decides; None when it is the output that does."""
    last = result.execute or result.compile
    if last is None or last.exit_reason in _NOT_THE_PROGRAMS:
        return Verdict.NOT_JUDGED
    fine = last.exit_reason is ExitReason.EXITED and last.exit_code == 0
    if result.execute is None:
        return Verdict.NOT_JUDGED if fine else Verdict.COMPILATION_ERROR
    if not fine:
        return _ENDED_BY_LIMIT.get(last.exit_reason, Verdict.RUNTIME_ERROR)
    return Verdict.NOT_JUDGED if outcome.exit_reason is ExitReason.INTERNAL_ERROR else None
