"""One role process, apart from its supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from khala.local.plan import RolePlan
from khala.local.role_process import RoleProcess


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
