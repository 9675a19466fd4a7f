"""Compile and execute: commands, input, results, and the surroundings that a task sees."""

from __future__ import annotations

import os

import pytest
from execution.harness import Bench, executed, launcher_pids, script
from uids import first_test_uid

from khala.core.task import Command, ExitReason, InputFile, Phase, TaskSpec
from khala.errors import Fault
from khala.execution.job import Job, PhaseStarted

PROGRAM = b"""#include <iostream>
int main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; return 0; }
"""

LIBC_SIGNALS = 0b11 << 31  # 32 and 33, the C library's own: no program can set them, only inherit


def test_a_program_is_compiled_and_run(bench: Bench) -> None:
    spec = TaskSpec(
        inputs=(InputFile(path="main.cpp", content=PROGRAM),),
        compile=Command(shell="g++ -O1 -o main main.cpp"),
        execute=Command(argv=("./main",), stdin=b"40 2\n"),
    )
    end = bench.run(spec)
    assert end.outcome.succeeded, end.outcome
    assert end.outcome.phase is Phase.EXECUTE
    assert executed(end).stdout.head == b"42\n"
    assert [event.phase for event in bench.seen if isinstance(event, PhaseStarted)] == ["compile", "execute"]
    assert end.outcome.result is not None
    assert end.outcome.result.compile is not None
    assert end.outcome.result.compile.cpu_user_s > 0.02
    assert end.outcome.result.compile.max_rss_bytes > 20 * 1024 * 1024
    assert end.started_at <= end.outcome.result.compile.started_at <= executed(end).started_at
    assert executed(end).started_at <= end.outcome.finished_at


def test_a_failed_compile_ends_the_task(bench: Bench) -> None:
    spec = TaskSpec(compile=Command(shell="echo wrong >&2; exit 1"), execute=Command(shell="echo never"))
    outcome = bench.run(spec).outcome
    assert (outcome.exit_reason, outcome.phase) == (ExitReason.EXITED, Phase.COMPILE)
    assert not outcome.succeeded
    assert outcome.reason == "compile exited with code 1"
    assert outcome.result is not None
    assert outcome.result.execute is None
    assert outcome.result.compile is not None
    assert outcome.result.compile.stderr.head == b"wrong\n"


def test_only_a_compile_phase(bench: Bench) -> None:
    outcome = bench.run(TaskSpec(compile=Command(shell="true"))).outcome
    assert (outcome.succeeded, outcome.phase, outcome.reason) == (True, Phase.COMPILE, "")
    assert outcome.result is not None
    assert outcome.result.execute is None


def test_no_phase_at_all(bench: Bench) -> None:
    outcome = bench.run(TaskSpec()).outcome
    assert outcome.exit_reason is ExitReason.SETUP_FAILED
    assert outcome.result is None


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_codes(bench: Bench, code: int) -> None:
    end = bench.run(script(f"exit {code}"))
    assert executed(end).exit_code == code
    assert executed(end).signal is None
    assert end.outcome.exit_reason is ExitReason.EXITED
    assert end.outcome.succeeded == (code == 0)


@pytest.mark.parametrize("number", [6, 9, 11, 15, 34])
def test_signals(bench: Bench, number: int) -> None:
    end = bench.run(script(f"kill -{number} $$"))
    assert executed(end).signal == number
    assert executed(end).exit_code is None
    assert end.outcome.exit_reason is ExitReason.SIGNALED
    assert f"signal {number}" in end.outcome.reason


def test_standard_input(bench: Bench, tmp_path: os.PathLike[str]) -> None:
    assert bench.shell("cat", stdin=b"a\0b\xff").stdout.head == b"a\0b\xff"
    assert bench.shell("cat; readlink /proc/self/fd/0").stdout.head == b"/dev/null\n"
    assert bench.shell("cat /dev/stdin", stdin=b"opened").stdout.head == b"opened"


def test_a_task_cannot_grow_its_input(bench: Bench) -> None:
    result = bench.shell("echo more >> /proc/self/fd/0", stdin=b"x")
    assert result.exit_code != 0


def test_argv_is_taken_as_it_is(bench: Bench) -> None:
    end = bench.run(TaskSpec(execute=Command(argv=("printf", "%s|", "a b", "$HOME", "", "é"))))
    assert executed(end).stdout.head.decode() == "a b|$HOME||é|"


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (("no-such-command",), 127, "khala: no-such-command: No such file or directory\n"),
        (("./missing",), 127, "khala: ./missing: No such file or directory\n"),
        (("/etc/passwd",), 126, "khala: /etc/passwd: Permission denied\n"),
    ],
)
def test_a_command_that_cannot_start(bench: Bench, argv: tuple[str, ...], code: int, text: str) -> None:
    result = executed(bench.run(TaskSpec(execute=Command(argv=argv))))
    assert (result.exit_code, result.stderr.head.decode()) == (code, text)


@pytest.mark.parametrize(
    "command",
    [
        Command(),
        Command(argv=("a\0b",)),
        Command(shell="true", env={"A=B": "x"}),
        Command(shell="true", env={"": ""}),
        Command(shell="true", env={"A": "x\0y"}),
    ],
)
def test_a_command_that_cannot_be_tried(bench: Bench, command: Command) -> None:
    outcome = bench.run(TaskSpec(execute=command)).outcome
    assert outcome.exit_reason is ExitReason.SETUP_FAILED
    assert outcome.reason.startswith("the execute command has")


def test_environment_is_clean(bench: Bench) -> None:
    end = bench.run(TaskSpec(execute=Command(argv=("/usr/bin/env",), env={"MINE": "1", "LANG": "C"})))
    lines = dict(line.split("=", 1) for line in executed(end).stdout.head.decode().splitlines())
    home = f"{bench.root}/0-{end.task_id}-1"
    assert lines == {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C", "MINE": "1",
        "HOME": home, "TMPDIR": home, "SHELL": "/bin/bash",
        "KHALA_TASK_ID": end.task_id, "KHALA_ATTEMPT": "1",
    }  # fmt: skip


def test_surroundings(bench: Bench) -> None:
    assert bench.text("umask; nice") == f"0077\n{min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)}\n"
    assert bench.text('[ "$PWD" = "$HOME" ] && ls -A && touch "$TMPDIR/x" && ls') == "x\n"
    assert bench.text("exec ls /proc/self/fd").split() == ["0", "1", "2", "3"], "3 is the listing's own"
    assert bench.text("ps -o pid=,sid=,pgid= -p $$ | awk '{ print ($1 == $2 && $2 == $3) }'") == "1\n"
    ignored = int(bench.text("grep SigIgn /proc/self/status").split()[1], 16)
    assert ignored & ~LIBC_SIGNALS == 0, f"{ignored:x}"
    assert bench.text("grep SigBlk /proc/self/status") == "SigBlk:\t0000000000000000\n"
    assert bench.shell("echo seen > /dev/stderr").stderr.head == b"seen\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_a_task_is_never_root(bench: Bench) -> None:
    look = "id -u; id -g; id -G; grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/self/status"
    none = "0000000000000000"
    for slot in (0, 1):
        uid = str(first_test_uid() + slot)
        assert executed(bench.run(script(look), slot=slot)).stdout.head.decode().splitlines() == [
            uid, uid, uid, f"CapPrm:\t{none}", f"CapEff:\t{none}", "NoNewPrivs:\t1",
        ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_a_task_cannot_signal_its_launcher(bench: Bench) -> None:
    before = launcher_pids(bench.root)
    assert bench.shell("kill -9 $PPID; kill -STOP $PPID; exit 5").exit_code == 5
    bench.shell("kill -9 -1")
    assert launcher_pids(bench.root) == before


def test_a_busy_slot_takes_no_second_job(bench: Bench) -> None:
    job = bench.start(script("sleep 20"))
    with pytest.raises(Fault, match="busy"):
        bench.pool.run(0, Job(task_id="f" * 24, attempt=1, spec=script("true")))
    bench.pool.abort(0)
    assert bench.end().task_id == job.task_id
    with pytest.raises(Fault, match="no slot 2"):
        bench.pool.run(2, job)
