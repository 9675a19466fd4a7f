"""Attacks on the trusted code that clears up after a task: names, links and modes in the workspace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from abuse.attack import attack
from abuse.conftest import as_root
from execution.harness import Bench

from khala.core.task import Isolation

TRICKS = {
    "links out": "ln -s / root; ln -s {victim} v; mkdir d; ln -s {folder} d/f; ln -s .. up; ln -s loop loop",
    "fifo and socket": "mkfifo f; perl -MSocket -e 'socket(S,AF_UNIX,1,0); bind(S,pack_sockaddr_un(q(s)))'",
    "hard links": "echo x > a; for i in {{1..200}}; do ln a l$i; done; ln {victim} stolen",
    "sparse": "truncate -s 100G sparse; truncate -s 8E larger",
    "odd names": "touch $'a\\nb' $'\\xff\\xfe' ' ' '-rf' '*' .hidden; mkdir -p '...' $'\\e[31m'",
    "closed folders": "mkdir -p a/b/c; touch a/b/c/f; chmod 0 a/b/c a/b a; chmod 0 .",
    "deep": "perl -e 'for (1 .. 3000) {{ mkdir q(d); chdir q(d) }}'",
    "wide": "touch f{{1..1500}}",
    "workspace replaced": "cd ..; mv $HOME away; rmdir $HOME; ln -s {folder} $HOME; exit 0",
    "immutable": "touch f; chattr +i f; chattr +a .; exit 0",
    "sticky and setgid": "mkdir s; chmod 7777 s; touch s/f; chmod 6777 s/f",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_clearing_up_harms_nobody(
    bench: Bench, level: Isolation, phase: str, open_folder: Path, trick: str
) -> None:
    if trick == "workspace replaced" and os.geteuid() != 0:
        pytest.skip("a task that runs as the executor's own user can move its workspace away")
    folder = open_folder / "precious"
    folder.mkdir(exist_ok=True)
    victim = folder / "file"
    victim.write_text("precious")
    attack(bench, TRICKS[trick].format(victim=victim, folder=folder), level, phase)
    assert victim.read_text() == "precious"
    assert victim.stat().st_nlink == 1
    assert Path("/etc/passwd").exists()


@as_root
def test_files_outside_of_the_workspace_go_too(bench: Bench, level: Isolation) -> None:
    """The folders that everybody may write hold nothing of a task after its end (`bench` looks)."""
    leave = "for d in /tmp /var/tmp /dev/shm; do echo x > $d/left-$$; mkdir -p $d/dir-$$/in; done; exit 0"
    assert attack(bench, leave, level).outcome.succeeded


@as_root
def test_shared_memory_goes_too(bench: Bench, level: Isolation) -> None:
    make = "exec perl -e 'exit(defined shmget(0, 100000, 0600) ? 0 : 1)'"
    seen = attack(bench, make, level)
    assert seen.result.exit_code == 0
    after = attack(bench, "wc -l < /proc/sysvipc/shm", level)
    assert after.said.strip() == "1", "only the heading"
