"""Both ways of starting a command: by the library, and by a fork where there is none or it must not be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from execution.harness import Bench, executed, new_root, opened, script
from uids import first_test_uid

from khala.core.task import Command, ExitReason, Limits, TaskSpec
from khala.execution.launching.vforking import MOST_TAKEN_BYTES, Vfork

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives tasks a user of their own")
LOOK = """
import os, resource, signal
names = ("CORE", "NOFILE", "FSIZE", "CPU")
print([resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names])
print(os.getresuid(), os.getresgid(), os.getgroups(), os.getsid(0) == os.getpid())
print(sorted(os.listdir("/proc/self/fd"), key=int)[:-1], os.getpriority(os.PRIO_PROCESS, 0))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGTERM))
print(open("/proc/self/oom_score_adj").read().strip(), os.getcwd() == os.environ["HOME"], oct(os.umask(0)))
"""
LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
signal.pause()
"""


def shared_uid() -> int:
    """No slot's own."""
    return first_test_uid() + 99


def test_the_library_is_built() -> None:
    if Vfork.here() is None and os.environ.get("CI") != "true":
        pytest.skip("vfork.c is not built here: install a C compiler, then `make setup`")
    assert Vfork.here() is not None


@pytest.fixture
def forking(open_folder: Path) -> Iterator[Bench]:
    """A pool whose launchers fork, as other processes may have its tasks' user."""
    if os.geteuid() != 0:
        pytest.skip("only root runs tasks as another user")
    bench = opened(new_root(open_folder), shared_owner=(shared_uid(), shared_uid()))
    yield bench
    bench.pool.close()


def looked(bench: Bench) -> str:
    limits = Limits(open_files=77, file_size_bytes=1 << 20, cpu_time_s=5, wall_time_s=200)
    command = Command(argv=("/usr/bin/env", "python3", "-I", "-c", LOOK), limits=limits)
    result = executed(bench.run(TaskSpec(execute=command)))
    assert result.exit_code == 0, result.stderr.head.decode()
    return result.stdout.head.decode()


@as_root
def test_both_ways_make_the_same_process(bench: Bench, forking: Bench) -> None:
    own, shared = looked(bench), looked(forking)
    uid = first_test_uid()
    assert own.replace(str(uid), str(shared_uid())) == shared
    assert f"({uid}, {uid}, {uid}) ({uid}, {uid}, {uid}) [] True" in own
    assert "[(0, 0), (77, 77), (1048576, 1048576), (6, 8)]" in own
    assert f"['0', '1', '2'] {min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)}" in own
    assert "set() 0" in own or "Handlers.SIG_DFL" in own
    assert "700 True 0o77" in own


@pytest.mark.parametrize(
    ("argv", "code"), [(("no-such",), 127), (("/etc/passwd",), 126), (("/etc/passwd/x",), 127)]
)
def test_both_ways_tell_the_same_of_what_cannot_be_executed(
    bench: Bench, forking: Bench, argv: tuple[str, ...], code: int
) -> None:
    spec = TaskSpec(execute=Command(argv=argv))
    own, shared = executed(bench.run(spec)), executed(forking.run(spec))
    assert (own.exit_code, own.stderr.head) == (shared.exit_code, shared.stderr.head)
    assert own.exit_code == code


def test_path_is_searched_as_a_shell_does(bench: Bench) -> None:
    """What cannot be run in one folder is looked for in the next."""
    compile_ = Command(
        shell="mkdir a b; echo > a/tool; printf '#!/bin/sh\\necho b' > b/tool; chmod +x b/tool"
    )
    execute = Command(argv=("tool",), env={"PATH": "none:a:b"})
    assert executed(bench.run(TaskSpec(compile=compile_, execute=execute))).stdout.head == b"b\n"


def test_an_environment_that_is_no_text(bench: Bench) -> None:
    """A word that exec cannot take is told by a forked child."""
    result = executed(bench.run(TaskSpec(execute=Command(argv=("echo", "\ud800")))))
    assert (result.exit_code, b"surrogates not allowed" in result.stderr.head) == (126, True)


@as_root
def test_an_exec_that_waits_does_not_hold_its_launcher(bench: Bench, open_folder: Path) -> None:
    """Another process holds a lease of the program: an abort is heeded all the same."""
    program = open_folder / "leased"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    holder = subprocess.Popen([sys.executable, "-c", LEASE, str(program)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        began = time.monotonic()
        job = bench.start(TaskSpec(execute=Command(argv=(str(program),))))
        bench.pool.abort(0, kill_grace_s=0)
        assert bench.end_of(job).outcome.exit_reason == "cancelled"
        assert time.monotonic() - began < 25, "the kernel breaks a lease after 45 s"
    finally:
        holder.kill()
        holder.communicate()
    assert bench.run(script("true")).outcome.succeeded


@pytest.mark.parametrize("over", [-1, 0, 1, MOST_TAKEN_BYTES, 5 * MOST_TAKEN_BYTES])
def test_nothing_is_lost_where_one_call_does_not_take_all_output(bench: Bench, over: int) -> None:
    size = MOST_TAKEN_BYTES + over
    result = bench.shell(f"head -c {size} /dev/zero; head -c {size} /dev/zero >&2; exit 3")
    assert (result.stdout.size, result.stderr.size, result.exit_code) == (size, size, 3)


def test_output_beyond_its_limit_is_found_at_once(bench: Bench) -> None:
    command = Command(
        shell="printf 0123456789; exec sleep 300", limits=Limits(output_bytes=9, wall_time_s=200)
    )
    result = executed(bench.run(TaskSpec(execute=command)))
    assert (result.exit_reason, result.stdout.head) == (ExitReason.OUTPUT_LIMIT, b"0123456789")
    assert result.wall_time_s < 50
