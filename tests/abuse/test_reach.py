"""Attacks that reach for what is not the task's: secrets, other workspaces, the network, the host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from abuse.attack import attack, attacking, secret_of
from abuse.conftest import as_root
from execution.harness import Bench, launcher_pids, new_root, opened
from uids import uids_of_node
from wait import wait_until

from khala.core.task import Command, ExitReason, InputFile, Isolation, TaskSpec
from khala.execution.probing import HostIsolation

SECRET = "the-cluster-secret"
EXECUTOR = """
import queue, sys
from pathlib import Path
from khala.core.task import Command, Isolation, TaskSpec
from khala.execution.job import Job, JobEnded
from khala.execution.pool import LauncherPool
from khala.execution.settings import ExecutionSettings
events = queue.Queue()
pool = LauncherPool(ExecutionSettings(
    slots=1, workspace_root=Path(sys.argv[1]), uid_base=int(sys.argv[5]), levels=tuple(Isolation),
    bwrap=sys.argv[3], cgroups=sys.argv[4] == "1",
), events.put)
pool.start()
look = Command(shell="env; cat /proc/self/environ /proc/*/environ /proc/*/cmdline 2> /dev/null; exit 0")
spec = TaskSpec(compile=look, execute=look, isolation=Isolation(sys.argv[2]))
pool.run(0, Job(task_id="0" * 24, attempt=1, spec=spec))
while not isinstance(event := events.get(timeout=60), JobEnded):
    pass
pool.close()
print(event.outcome)
"""


@pytest.fixture
def port() -> Iterator[int]:
    """A server of the host on loopback, as mongod and etcd are."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@as_root
def test_compiler_that_includes_a_secret(bench: Bench, level: Isolation, open_folder: Path) -> None:
    source = f'#include "{secret_of(open_folder)}"\nint main() {{}}\n'.encode()
    spec = TaskSpec(
        inputs=(InputFile(path="main.c", content=source),),
        compile=Command(shell="gcc main.c 2>&1"),
        execute=Command(shell="./a.out"),
        isolation=level,
    )
    outcome = bench.run(spec).outcome
    assert outcome.exit_reason is ExitReason.EXITED
    assert outcome.result is not None
    assert outcome.result.compile is not None
    said = outcome.result.compile.stdout.head
    assert b"the-cluster-secret" not in said
    assert b"secret.txt" in said, "the compiler did try"


@as_root
def test_secret_of_the_executor(bench: Bench, level: Isolation, phase: str, open_folder: Path) -> None:
    secret = secret_of(open_folder)
    tried = attack(
        bench, f"cat {secret} /etc/shadow; ln {secret} mine; ln -s {secret} link; cat link mine", level, phase
    )
    assert tried.said == ""


@as_root
@pytest.mark.parametrize("what", ["environ", "mem", "fd/", "cwd/", "root/root"])
def test_launcher_and_executor_by_proc(bench: Bench, level: Isolation, phase: str, what: str) -> None:
    pids = [*launcher_pids(bench.root).values(), os.getpid()]
    reach = " ".join(f"/proc/{pid}/{what}" for pid in pids) + (
        f" /proc/$PPID/{what}" if level != "strict" else ""
    )
    tried = attack(
        bench, f"cat {reach} 2> /dev/null; ls {reach} 2> /dev/null | grep -v ^/proc; exit 0", level, phase
    )
    assert tried.said == ""


def test_no_credential_in_the_environment(open_folder: Path, level: Isolation, host: HostIsolation) -> None:
    """An executor of its own, which has the secret in its environment as a real one does."""
    root = new_root(open_folder)
    holds = (host.bwrap, str(int(host.cgroups)))
    uid = str(uids_of_node(1, nodes=4))
    argv = [sys.executable, "-c", EXECUTOR, str(root), level.value, *holds, uid]
    environment = {**os.environ, "KHALA_SECRET": SECRET, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert "KHALA_TASK_ID" in ended.stdout
    if os.geteuid() == 0:
        assert SECRET not in ended.stdout


@as_root
def test_other_workspaces(bench: Bench, level: Isolation, phase: str) -> None:
    other = bench.start(
        attacking(
            "echo private > file; chmod -R 777 .; touch ready; sleep 300", level, "execute", wall_time_s=300.0
        ),
        slot=1,
    )
    wait_until((bench.workspace_of(other, 1) / "ready").exists, what="the other one is up")
    place = bench.workspace_of(other, 1)
    tried = attack(
        bench, f"cat {place}/file; ls {bench.root} {place}; touch {place}/x {bench.root}/x", level, phase
    )
    if level is Isolation.STRICT:
        assert str(place.name) not in tried.said
    # Below strict the names are guessable, but a workspace's own mode is the task's to give away.
    assert not (bench.root / "x").exists()
    bench.pool.abort(1, kill_grace_s=0)
    assert bench.end_of(other).outcome.exit_reason is ExitReason.CANCELLED


@as_root
def test_a_closed_workspace_stays_closed(bench: Bench, level: Isolation, phase: str) -> None:
    spec = attacking("echo private > file; touch ready; sleep 300", level, "execute", wall_time_s=300.0)
    other = bench.start(spec, slot=1)
    wait_until((bench.workspace_of(other, 1) / "ready").exists, what="the other one is up")
    place = bench.workspace_of(other, 1)
    tried = attack(bench, f"cat {place}/file; ls {bench.root} {place}; rm -rf {place}; exit 0", level, phase)
    assert tried.said in ("", f"{bench.root}:\n{bench.root.name}\n") or "private" not in tried.said
    assert (place / "file").exists()
    bench.pool.abort(1, kill_grace_s=0)
    assert bench.end_of(other).outcome.exit_reason is ExitReason.CANCELLED


def test_network(bench: Bench, level: Isolation, phase: str, port: int) -> None:
    connect = f"(exec 3<> /dev/tcp/127.0.0.1/{port}) 2> /dev/null && echo reached || echo refused"
    reached = attack(bench, connect, level, phase)
    assert reached.said == ("refused\n" if level is Isolation.STRICT else "reached\n")
    assert ("no-network" in reached.enforced) == (level is Isolation.STRICT)
    assert attack(bench, connect, level, phase, network=True).said == "reached\n"


def test_abstract_sockets_of_the_host(bench: Bench, host: HostIsolation) -> None:
    if Isolation.STRICT not in host.levels:
        pytest.skip(f"strict does not hold here: {host.layers}")
    with socket.socket(socket.AF_UNIX) as listener:
        own = f"khala-abuse-{os.getpid()}"  # all of the host share these names
        listener.bind(f"\0{own}")
        listener.listen()
        name = f"pack_sockaddr_un(qq(\\0{own}))"
        connect = f"use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); print connect(S, {name}) ? 1 : 0"
        assert attack(bench, f"exec perl -e '{connect}'", Isolation.STRICT).said == "0"


@as_root
def test_more_privileges(bench: Bench, level: Isolation, phase: str) -> None:
    tries = (
        "cp /bin/bash b; chmod 4755 b; ./b -p -c 'id -u'; su -c 'id -u' < /dev/null; "
        "mount -t tmpfs x . && echo 0; mknod d b 8 0 && echo 0; chown 0 b && echo 0; exit 0"
    )
    tried = attack(bench, tries, level, phase)
    assert "0" not in tried.said.split()


@as_root
def test_its_own_control_group(bench: Bench, level: Isolation) -> None:
    move = "for f in $(find /sys/fs/cgroup -name cgroup.procs); do echo $$ > $f && echo moved; done"
    tried = attack(bench, f"({move}) 2> /dev/null; exit 0", level)
    assert tried.said == ""


def test_strict_sees_nothing_of_the_host(bench: Bench, host: HostIsolation) -> None:
    if Isolation.STRICT not in host.levels:
        pytest.skip(f"strict does not hold here: {host.layers}")
    seen = attack(
        bench,
        "ls / /home /root /var /run /sys /proc/1/root/home 2>&1; hostname; touch /usr/x /etc/x /x",
        Isolation.STRICT,
    )
    assert "\nkhala\n" in seen.said
    for hidden in ("\nhome\n", "\nroot\n", "\nsys\n", "\nrun\n", "\nboot\n"):
        assert hidden not in seen.said


def test_preloading_into_the_box(bench: Bench, host: HostIsolation, phase: str) -> None:
    """A task's environment must not reach bwrap, which runs outside of the box."""
    if Isolation.STRICT not in host.levels:
        pytest.skip(f"strict does not hold here: {host.layers}")
    source = (
        b"#include <stdio.h>\n__attribute__((constructor)) void f(void) {"
        b' FILE *o = fopen("/proc/1/comm", "r");'
        b' char b[64] = ""; if (o) fgets(b, 64, o); fprintf(stderr, "in %s", b); }'
    )
    spec = TaskSpec(
        inputs=(InputFile(path="evil.c", content=source),),
        compile=Command(shell="gcc -shared -fPIC -o /tmp/x.so evil.c && cp /tmp/x.so evil.so"),
        execute=Command(argv=("/bin/true",), env={"LD_PRELOAD": "./evil.so", "LD_LIBRARY_PATH": "."}),
        isolation=Isolation.STRICT,
    )
    outcome = bench.run(spec).outcome
    assert outcome.result is not None
    assert outcome.result.execute is not None, outcome
    assert outcome.result.execute.stderr.head == b"in bwrap\n", "loaded once, into the command, in the box"


def test_a_level_that_does_not_hold_is_refused(bench: Bench, host: HostIsolation, open_folder: Path) -> None:
    weak = opened(new_root(open_folder), levels=(Isolation.NONE,))
    try:
        outcome = weak.run(attacking("echo ran", Isolation.BASIC, "execute")).outcome
        assert outcome.exit_reason is ExitReason.SETUP_FAILED
        assert "isolation basic does not hold on this executor" in outcome.reason
        assert outcome.result is None
    finally:
        weak.pool.close()
