"""The journal on disk: durable, exclusive, and whole after any crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from khala.core.journal import Fact, JournalRecord
from khala.core.task import Epoch, ExitReason, Outcome, Phase, PhaseResult, Result, StreamCapture
from khala.errors import ConfigurationError, Fault, Unavailable
from khala.execution.journal import HEADER_BYTES, Journal

OUTCOME = Outcome(
    exit_reason=ExitReason.EXITED, succeeded=True, phase=Phase.EXECUTE, finished_at=3.5,
    result=Result(execute=PhaseResult(
        exit_reason=ExitReason.EXITED, exit_code=0, stdout=StreamCapture(size=3, head=b"\0\xff\n")
    )),
)  # fmt: skip
RECORDS = [
    JournalRecord(fact=Fact.INCARNATION, incarnation="i1"),
    JournalRecord(fact=Fact.EPOCH, epoch=Epoch(generation=1, number=7)),
    JournalRecord(fact=Fact.START, task_id="a" * 24, attempt=2, incarnation="i1", at=1.25),
    JournalRecord(fact=Fact.END, task_id="a" * 24, attempt=2, incarnation="i1", at=3.5, outcome=OUTCOME),
    JournalRecord(fact=Fact.SETTLED, task_id="a" * 24, attempt=2),
]


def loaded(path: Path) -> list[JournalRecord]:
    journal = Journal(path)
    try:
        return journal.load()
    finally:
        journal.close()


def written(path: Path, *batches: list[JournalRecord]) -> list[int]:
    """Write the batches; the size of the file after each."""
    journal = Journal(path)
    sizes = []
    try:
        journal.load()
        for batch in batches:
            journal.append(batch)
            assert journal.size_bytes == path.stat().st_size
            sizes.append(journal.size_bytes)
    finally:
        journal.close()
    return sizes


def test_what_was_appended_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "data" / "journal"
    assert loaded(path) == []
    written(path, RECORDS[:2], [], RECORDS[2:])
    assert loaded(path) == RECORDS
    written(path, RECORDS)
    assert loaded(path) == RECORDS * 2


def test_a_crash_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first, second, third = written(path, RECORDS[:1], RECORDS[1:3], RECORDS[3:])
    content = path.read_bytes()
    assert len(content) == third
    for size in range(third + 1):
        path.write_bytes(content[:size])
        whole = sum(size >= end for end in (first, second, third))
        expected = RECORDS[: (0, 1, 3, 5)[whole]]
        assert loaded(path) == expected, size
        assert written(path, RECORDS[4:]) and loaded(path) == expected + RECORDS[4:], size


def test_a_torn_batch_of_any_bytes_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first, second = written(path, RECORDS[:3], RECORDS[3:])
    content = path.read_bytes()
    for at in range(first, second):
        path.write_bytes(content[:at] + bytes(second - at))
        journal = Journal(path)
        assert journal.load() == (RECORDS[:3] if at < second else RECORDS)
        assert journal.cut_bytes in (second - first, 0)
        assert path.stat().st_size == first
        journal.close()


def test_a_crash_with_room_ahead(tmp_path: Path) -> None:
    path, room = tmp_path / "journal", 4096
    sizes = []
    journal = Journal(path, room_bytes=room)
    journal.load()
    for batch in (RECORDS[:1], RECORDS[1:3], RECORDS[3:], RECORDS * 40):
        journal.append(batch)
        sizes.append(journal.size_bytes)
        assert path.stat().st_size > journal.size_bytes
    journal.close()
    content = path.read_bytes()
    assert loaded(path) == RECORDS * 41
    assert path.stat().st_size == sizes[-1], "what was ahead is given back"
    for at in [*range(sizes[1], sizes[2], 11), sizes[2] - 1]:
        path.write_bytes(content[:at] + bytes(room))
        torn = bool(content[sizes[1] : at].strip(b"\0"))
        journal = Journal(path, room_bytes=room)
        # The last bytes of a frame may be zeros themselves.
        assert journal.load() in (RECORDS[:3], RECORDS)
        assert (journal.cut_bytes > 0) == (torn and journal.size_bytes == sizes[1])
        journal.append(RECORDS[4:])
        journal.close()
        assert loaded(path)[-1:] == RECORDS[4:]
    for at in (HEADER_BYTES, sizes[0] - 1, sizes[1] + 9):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(ConfigurationError, match="before its last batch"):
            loaded(path)


def test_damage_before_the_last_batch_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first, second = written(path, RECORDS[:3], RECORDS[3:])
    content = path.read_bytes()
    for at in range(HEADER_BYTES, first):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(ConfigurationError, match=r"damaged at byte 16.*move the file away"):
            loaded(path)
        assert path.stat().st_size == second, "nothing is cut"


def test_output_cannot_forge_a_frame(tmp_path: Path) -> None:
    other = tmp_path / "other"
    written(other, RECORDS)
    forged = other.read_bytes()[HEADER_BYTES:]
    phase = PhaseResult(exit_reason=ExitReason.EXITED, stdout=StreamCapture(size=1, head=forged))
    outcome = Outcome(exit_reason=ExitReason.EXITED, result=Result(execute=phase))
    end = JournalRecord(fact=Fact.END, outcome=outcome)
    path = tmp_path / "journal"
    written(path, RECORDS[:1], [end])
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert loaded(path) == RECORDS[:1]


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"KHALAJ2\n" + bytes(100))
    with pytest.raises(ConfigurationError, match="no journal of this version"):
        loaded(path)
    assert path.stat().st_size == 108


def test_compaction(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.load()
    journal.append(RECORDS * 300)
    before = journal.size_bytes
    journal.compact(RECORDS[2:])
    assert journal.size_bytes == path.stat().st_size < before / 100
    journal.append(RECORDS[:1])
    journal.compact([*RECORDS[2:], *RECORDS[:1]] * 300)
    journal.append(RECORDS[:1])
    journal.close()
    assert loaded(path) == [*RECORDS[2:], *RECORDS[:1]] * 300 + RECORDS[:1]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["journal", "journal.lock"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Journal(path)
    with pytest.raises(ConfigurationError, match="in use by another executor"):
        Journal(path)
    first.close()
    Journal(path).close()


def test_use_in_the_wrong_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with pytest.raises(Fault, match="not loaded"):
        journal.append(RECORDS)
    journal.load()
    journal.close()
    journal.close()
    with pytest.raises(Fault, match="not loaded, or closed"):
        journal.append(RECORDS)


def test_a_killed_writer_loses_nothing_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    writer = (
        "import sys; from pathlib import Path; from khala.core.journal import *; "
        "from khala.execution.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.load(); n = 0\n"
        "while True:\n"
        "    journal.append([JournalRecord(fact=Fact.START, attempt=n, task_id='x' * 5000)]); n += 1\n"
        "    print(n, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", writer, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    confirmed = 0
    for line in process.stdout:
        confirmed = int(line)
        if confirmed == 50:
            process.kill()
    process.wait()
    process.stdout.close()
    assert [record.attempt for record in loaded(path)][:confirmed] == list(range(confirmed))


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mount is not allowed here")
    return folder


@pytest.mark.parametrize("room_bytes", [0, 20_000])
def test_a_full_disk(small_disk: Path, room_bytes: int) -> None:
    path = small_disk / "journal"
    big = [JournalRecord(fact=Fact.START, task_id="x" * 5000)]
    try:
        journal = Journal(path, room_bytes=room_bytes)
        journal.load()
        count = 0
        with pytest.raises(Unavailable, match=r"disk of journal .* is full"):
            for _ in range(20):
                journal.append(big)
                count += 1
        assert 5 < count < 14
        assert path.stat().st_size == journal.size_bytes
        with pytest.raises(Unavailable, match="make room"):
            journal.compact(big * 20)
        journal.compact(RECORDS)
        journal.append(RECORDS)
        journal.close()
        assert loaded(path) == RECORDS * 2
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)
