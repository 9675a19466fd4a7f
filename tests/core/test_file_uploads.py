"""The bookkeeping of output files: order, repetitions, and answers that come too late."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khala.core.execution.file_uploads import ATTEMPTS_AT_ONCE, FilePart, FileUploads, without_lost
from khala.core.task import ExitReason, Outcome, OutputFile, Result

A, B = ("a" * 24, 1), ("b" * 24, 2)


def file_of(path: str, size: int) -> OutputFile:
    return OutputFile(path=path, size=size, sha256=path * 64)


def uploads() -> FileUploads:
    """Parts of 10 bytes, uploads named u1, u2, …"""
    numbers = itertools.count(1)
    return FileUploads(new_id=lambda: f"u{next(numbers)}", chunk_bytes=10)


def one(each: FileUploads, now: float = 0.0) -> FilePart:
    (part,) = each.next_parts(now)
    return part


def seen(part: FilePart) -> tuple[str, str, int, int, int]:
    return (part.file.path, part.upload_id, part.offset, part.length, part.spooled_at)


def test_one_file_after_the_other_part_by_part() -> None:
    each = uploads()
    each.begin(A, [file_of("x", 15), file_of("e", 0), file_of("y", 3)])
    expected = [("x", "u1", 0, 10, 0), ("x", "u1", 10, 5, 10), ("e", "u2", 0, 0, 15), ("y", "u3", 0, 3, 15)]
    for wanted in expected:
        part = one(each)
        assert seen(part) == wanted
        assert list(each.next_parts(0.0)) == [], "the next part goes after the answer"
        assert each.take_delivered() == []
        each.stored(part, complete=part.offset + part.length == part.file.size)
    assert each.take_delivered() == [(A, ())]
    assert each.take_delivered() == [] and list(each.next_parts(0.0)) == []


def test_what_is_stored_already_is_complete_at_once() -> None:
    each = uploads()
    each.begin(A, [file_of("x", 100), file_of("y", 5)])
    each.stored(one(each), complete=True)
    assert seen(one(each)) == ("y", "u2", 0, 5, 100)


def test_a_failed_part_begins_its_file_anew_after_a_growing_pause() -> None:
    each = uploads()
    each.begin(A, [file_of("x", 15)])
    each.stored(one(each), complete=False)
    now = 0.0
    for number, pause_s in enumerate((0.1, 0.2, 0.4), start=2):
        each.failed(one(each, now), now)
        assert list(each.next_parts(now + pause_s - 0.01)) == []
        now += pause_s
        part = one(each, now)
        assert seen(part) == ("x", f"u{number}", 0, 10, 0)
        each.failed(part, now)
        each.failed(part, now)  # a second answer to the same part says nothing
        now += pause_s * 2
        each.stored(one(each, now), complete=False)
        break


def test_a_last_part_that_completes_nothing_begins_anew() -> None:
    each = uploads()
    each.begin(A, [file_of("x", 5)])
    each.stored(one(each), complete=False)
    assert seen(one(each)) == ("x", "u2", 0, 5, 0)


def test_a_lost_file_is_told_and_the_next_is_found() -> None:
    each = uploads()
    each.begin(A, [file_of("x", 15), file_of("y", 5)])
    each.lost(one(each))
    part = one(each)
    assert seen(part) == ("y", "u2", 0, 5, 15)
    each.stored(part, complete=True)
    assert each.take_delivered() == [(A, (file_of("x", 15),))]


def test_answers_to_what_was_dropped_or_begun_anew_say_nothing() -> None:
    each = uploads()
    each.begin(A, [file_of("x", 5)])
    old = one(each)
    each.drop(A)
    each.stored(old, complete=True)
    assert each.take_delivered() == []
    each.begin(A, [file_of("x", 5)])
    each.stored(old, complete=True)
    assert each.take_delivered() == []


def test_so_many_attempts_at_once() -> None:
    each = uploads()
    attempts = [(f"{n:024x}", 1) for n in range(9)]
    for attempt in attempts:
        each.begin(attempt, [file_of("x", 5)])
    parts = list(each.next_parts(0.0))
    assert [part.attempt for part in parts] == attempts[:ATTEMPTS_AT_ONCE]
    each.stored(parts[0], complete=True)
    assert [part.attempt for part in each.next_parts(0.0)] == attempts[
        ATTEMPTS_AT_ONCE : ATTEMPTS_AT_ONCE + 1
    ]


@settings(deadline=None, database=None)
@given(
    sizes=st.lists(st.integers(0, 35), max_size=4),
    answers=st.lists(st.sampled_from(["ok", "fail", "lost answer"])),
)
def test_whatever_fails_every_byte_is_stored_in_the_end(sizes: list[int], answers: list[str]) -> None:
    each, now = uploads(), 0.0
    files = [file_of(chr(ord("a") + n), size) for n, size in enumerate(sizes)]
    spool = b"".join(bytes([n]) * file.size for n, file in enumerate(files))
    whole: dict[str, bytes] = {}
    each.begin(B, files)
    parts: dict[str, bytes] = {}
    for answer in itertools.chain(answers, itertools.repeat("ok")):
        now += 5.0
        for part in each.next_parts(now):
            data = spool[part.spooled_at : part.spooled_at + part.length]
            if answer != "fail":
                parts[part.upload_id] = parts.get(part.upload_id, b"") + data
            if answer != "ok":
                each.failed(part, now)
                continue
            complete = len(parts[part.upload_id]) == part.file.size
            if complete:
                whole[part.file.path] = parts[part.upload_id]
            each.stored(part, complete=complete)
        if each.take_delivered():
            break
    assert whole == {file.path: bytes([n]) * file.size for n, file in enumerate(files)}


@pytest.mark.parametrize("succeeded", [True, False])
def test_an_outcome_without_what_it_promised(succeeded: bool) -> None:
    files = (file_of("x", 1), file_of("y", 2))
    reason = ExitReason.EXITED if succeeded else ExitReason.SIGNALED
    outcome = Outcome(exit_reason=reason, succeeded=succeeded, result=Result(outputs=files))
    assert without_lost(outcome, ()) == outcome
    after = without_lost(outcome, files[:1])
    assert after.result == Result(outputs=files[1:])
    assert (after.succeeded, after.reason) == (
        False,
        "1 output files were lost with their spool, the first: 'x'",
    )
    assert after.exit_reason is (ExitReason.INTERNAL_ERROR if succeeded else ExitReason.SIGNALED)
