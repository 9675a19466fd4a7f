"""One role process, apart from its supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from wait import wait_until

from khala.local.plan import RolePlan
from khala.local.role_process import LOG_BYTES, RoleProcess


def test_asking_a_process_to_stop_that_has_just_died_leaves_its_end_to_be_found(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    plan = RolePlan(name="gateway-1", role="gateway", flags=())
    process = RoleProcess(plan, (sys.executable, "-c", "raise SystemExit(3)"), os.environ, tmp_path / "log")
    process.start(reading)
    child = process.record().identity
    assert child is not None
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    process.ask_to_stop()
    assert process.found_dead()
    assert process.last_code == 3
    os.close(reading)
    os.close(writing)


def test_a_log_stays_small_while_its_process_writes(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    plan = RolePlan(name="gateway-1", role="gateway", flags=())
    script = f"import sys; sys.stdout.write('x' * {LOG_BYTES + 1}); sys.stdout.flush(); input(); print('on')"
    log = tmp_path / "gateway-1.log"
    # Its standard input is /dev/null, so a pipe of ours says when it is to go on.
    script = script.replace("input()", "__import__('os').read(int(sys.argv[-1].rpartition('=')[2]), 1)")
    process = RoleProcess(plan, (sys.executable, "-c", script), os.environ, log)
    process.start(reading)
    wait_until(lambda: log.stat().st_size > LOG_BYTES, what="a long log")
    process.log_file.keep_small()
    assert log.stat().st_size == 0
    os.write(writing, b"1")
    wait_until(process.found_dead, what="its end")
    assert log.read_text() == "on\n"
    assert log.with_name("gateway-1.log.1").stat().st_size == LOG_BYTES + 1
    os.close(reading)
    os.close(writing)
