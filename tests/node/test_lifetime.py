"""How a node's life ends: by signals, in another process, and by its own word."""

from __future__ import annotations

import subprocess
import sys

from khala.node.lifetime import EXIT_FAULT, Lifetime

_DRAINING = """
import os, signal, threading
from khala.node.lifetime import Lifetime
lifetime = Lifetime("executor")
drained = threading.Event()
def drain():
    print("drains", flush=True)
    drained.set()
lifetime.catch_signals(drain)
def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    drained.wait(60)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=terminate).start()
raise SystemExit(lifetime.wait())
"""

_MANY = """
import os, signal
from khala.node.lifetime import Lifetime
lifetime = Lifetime("judicator")
lifetime.catch_signals()
signal.signal(signal.SIGALRM, lambda *_: lifetime._caught(0, None))
for _ in range(300):
    signal.setitimer(signal.ITIMER_REAL, 0.0003)
    lifetime.wait()
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )


def test_the_first_signal_drains_and_the_second_one_ends() -> None:
    ended = _run(_DRAINING)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "drains\n", "")


def test_a_signal_in_the_midst_of_waiting_is_never_lost() -> None:
    ended = _run(_MANY)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_first_reason_counts() -> None:
    lifetime = Lifetime("judicator")
    lifetime.give_up("the disk is gone")
    lifetime.give_up("something else")
    lifetime.end()
    assert lifetime.wait() == EXIT_FAULT


def test_what_was_made_at_the_start_is_not_looked_at_again() -> None:
    """And a cycle that is made later is still found."""
    script = """
import gc, weakref
from khala.node.lifetime import COLLECT_AFTER, settle_heap

class Knot:
    pass

kept = [Knot() for _ in range(1_000)]
settle_heap()
assert gc.get_freeze_count() > 1_000
assert gc.get_threshold() == COLLECT_AFTER
knot = Knot()
knot.itself = knot
gone = weakref.ref(knot)
del knot
rest = [[] for _ in range(2 * COLLECT_AFTER[0])]
assert gone() is None
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
