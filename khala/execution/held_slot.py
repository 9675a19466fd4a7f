"""What the keeper knows of one slot: its launcher, and the jobs that it was given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from khala.core.task import Phase
from khala.execution.job import Job
from khala.execution.slot_link import SlotLink


@dataclass(slots=True)
class Given:
    """A job of a slot. `sent`: its launcher has it; `started_at` is Unix seconds."""

    job: Job
    sent: bool = False
    started_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class HeldSlot:
    """A slot's launcher and jobs, the first of which runs; `phase` is that one's. `launch` numbers its
    launchers, `zygote` says whose child it is. `garbled`: it is not known what it has begun."""

    number: int
    launch: int = -1
    zygote: int = -1
    link: SlotLink | None = None
    ready: bool = False
    garbled: bool = False
    deaths: int = 0
    launch_at_s: float | None = None
    lost: str = ""
    jobs: deque[Given] = field(default_factory=deque)
    phase: Phase | None = None

    @property
    def runs(self) -> bool:
        """Does its launcher have a job?"""
        return bool(self.jobs) and self.jobs[0].sent

    @property
    def behind(self) -> Iterator[Given]:
        """The jobs that wait for the first to end."""
        return islice(self.jobs, 1, None)

    @property
    def has_ahead(self) -> bool:
        """Does its launcher have more than one job?"""
        return any(given.sent for given in self.behind)

    @property
    def first_unsent(self) -> Given | None:
        """The next one for its launcher, if there is one."""
        return next((given for given in self.jobs if not given.sent), None)

    def take_back(self) -> None:
        """Its launcher is gone, and had not begun what was behind the first job: it tells the end of each
        before it begins the next."""
        for given in self.behind:
            given.sent = False


def key_of(job: Job) -> tuple[str, int]:
    """Task and attempt."""
    return job.task_id, job.attempt
