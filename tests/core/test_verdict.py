"""The verdict: every end, with and without something to compare."""

from __future__ import annotations

from dataclasses import replace

import pytest

from khala.core.checking import Checker
from khala.core.task import (
    Command,
    ExitReason,
    Outcome,
    Phase,
    PhaseResult,
    Result,
    StreamCapture,
    TaskSpec,
    Verdict,
)
from khala.core.verdict import captured_whole, judged

SPEC = TaskSpec(execute=Command(shell="x"), expected_output=b"42\n")
FINE = PhaseResult(exit_reason=ExitReason.EXITED, exit_code=0, stdout=StreamCapture(size=3, head=b"42\n"))


def ended(execute: PhaseResult | None, compile: PhaseResult | None = None, **outcome: object) -> Outcome:
    last = execute or compile
    plain = {"exit_reason": last.exit_reason if last else ExitReason.SETUP_FAILED, "phase": Phase.EXECUTE}
    return Outcome(**{**plain, "result": Result(compile=compile, execute=execute), **outcome})  # type: ignore[arg-type]


def verdict(outcome: Outcome, stdout: bytes = b"42\n", spec: TaskSpec = SPEC) -> Verdict:
    result = judged(outcome, spec, [stdout]).result
    assert result is not None
    return result.verdict


def test_right_and_wrong() -> None:
    assert verdict(ended(FINE)) is Verdict.ACCEPTED
    outcome = judged(ended(FINE, succeeded=True), SPEC, [b"41\n"])
    assert outcome.succeeded and outcome.exit_reason is ExitReason.EXITED, "kept apart from the state"
    assert outcome.result is not None and outcome.result.difference is not None
    assert outcome.result.verdict is Verdict.WRONG_ANSWER
    assert (outcome.result.difference.line, outcome.result.difference.column) == (1, 2)


def test_the_checker_of_the_task_decides() -> None:
    assert verdict(ended(FINE), b"42", SPEC) is Verdict.ACCEPTED
    assert verdict(ended(FINE), b"42", replace(SPEC, checker=Checker.EXACT)) is Verdict.WRONG_ANSWER
    assert verdict(ended(FINE), b"42.1", replace(SPEC, checker=Checker.FLOAT)) is Verdict.WRONG_ANSWER
    near = replace(SPEC, checker=Checker.FLOAT, checker_tolerance=0.1)
    assert verdict(ended(FINE), b"42.1", near) is Verdict.ACCEPTED


ENDS = {
    ExitReason.SIGNALED: Verdict.RUNTIME_ERROR,
    ExitReason.WALL_TIME_LIMIT: Verdict.TIME_LIMIT_EXCEEDED,
    ExitReason.CPU_TIME_LIMIT: Verdict.TIME_LIMIT_EXCEEDED,
    ExitReason.MEMORY_LIMIT: Verdict.MEMORY_LIMIT_EXCEEDED,
    ExitReason.OUTPUT_LIMIT: Verdict.OUTPUT_LIMIT_EXCEEDED,
    ExitReason.DISK_LIMIT: Verdict.RUNTIME_ERROR,
    ExitReason.FILE_SIZE_LIMIT: Verdict.RUNTIME_ERROR,
    ExitReason.PROCESS_LIMIT: Verdict.RUNTIME_ERROR,
    ExitReason.CANCELLED: Verdict.NOT_JUDGED,
    ExitReason.SETUP_FAILED: Verdict.NOT_JUDGED,
    ExitReason.INTERNAL_ERROR: Verdict.NOT_JUDGED,
}


@pytest.mark.parametrize("exit_reason", ENDS)
def test_every_end_of_the_execution(exit_reason: ExitReason) -> None:
    assert verdict(ended(PhaseResult(exit_reason=exit_reason))) is ENDS[exit_reason]
    as_compile = ended(None, PhaseResult(exit_reason=exit_reason))
    programs = ENDS[exit_reason] is not Verdict.NOT_JUDGED
    assert verdict(as_compile) is (Verdict.COMPILATION_ERROR if programs else Verdict.NOT_JUDGED)


def test_exit_codes() -> None:
    assert verdict(ended(replace(FINE, exit_code=3))) is Verdict.RUNTIME_ERROR
    assert verdict(ended(None, replace(FINE, exit_code=1))) is Verdict.COMPILATION_ERROR
    assert verdict(ended(None, FINE)) is Verdict.NOT_JUDGED, "compiled, and nothing was executed"


def test_what_is_not_judged() -> None:
    unasked = judged(ended(FINE), replace(SPEC, expected_output=None), [b"x"])
    assert unasked == ended(FINE)
    assert judged(Outcome(exit_reason=ExitReason.EXECUTOR_LOST), SPEC, None).result is None
    assert verdict(ended(FINE, exit_reason=ExitReason.INTERNAL_ERROR)) is Verdict.NOT_JUDGED
    cut = judged(ended(replace(FINE, stdout=StreamCapture(size=99, truncated=True))), SPEC, None)
    assert cut.result is not None and cut.result.verdict is Verdict.NOT_JUDGED
    assert cut.reason == "not judged: the output of 99 bytes was not kept whole on the executor"
    assert verdict(ended(FINE, exit_reason=ExitReason.SETUP_FAILED)) is Verdict.ACCEPTED, (
        "an output file lacks"
    )


def test_what_was_captured_whole() -> None:
    assert captured_whole(StreamCapture(size=2, head=b"ab")) == (b"ab", b"")
    assert captured_whole(StreamCapture(size=9, head=b"a", tail=b"b", stored_bytes=9)) is None
