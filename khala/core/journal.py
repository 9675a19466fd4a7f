"""What an executor writes down before it acts, so that it can be trusted after a crash.

One record a fact; `khala.core.execution` decides what is written and rebuilds itself from what was,
`khala.execution.journal` puts it on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from khala.core.task import Epoch, Outcome


class Fact(StrEnum):
    """The kinds of record."""

    INCARNATION = "incarnation"
    EPOCH = "epoch"
    START = "start"
    END = "end"
    SETTLED = "settled"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecord:
    """One fact.

    INCARNATION: a process of this executor began (`incarnation`). EPOCH: no older `epoch` is ever
    obeyed again. START and END: `attempt` of `task_id`, assigned to `incarnation` under `epoch`, may begin
    from `at` on (Unix seconds), or ended then. SETTLED: its outcome was acknowledged and may be forgotten.
    RETURNED: it was handed back and has never begun, in spite of its START.
    """

    fact: Fact
    incarnation: str = ""
    epoch: Epoch = Epoch()
    task_id: str = ""
    attempt: int = 0
    at: float = 0.0
    outcome: Outcome | None = None
