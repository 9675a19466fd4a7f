"""uids for the tasks of a test run: held by this process, so that runs beside each other share none.

Two runs that shared one would kill each other's tasks, for that is what some of the tests do.
"""

from __future__ import annotations

import os
from functools import cache

from khala.execution.uid_range import RANGE, claim_uid_range, first_uid

PREFERRED = 200


@cache
def first_test_uid() -> int:
    """The first of RANGE uids that are this process's until it ends; without root they mean nothing."""
    return claim_uid_range(PREFERRED).base if os.geteuid() == 0 else first_uid()


def uids_of_node(number: int, *, nodes: int) -> int:
    """The first uid of one of several executors in one test."""
    return first_test_uid() + number % nodes * (RANGE // nodes)
