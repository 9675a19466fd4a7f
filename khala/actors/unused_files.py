"""Collecting files that nothing refers to any more: the cleaner's part that takes many steps.

A round looks for files that nobody used for long, then walks over all tasks and jobs for those of them that
are referred to, which is a use, and removes the others, each by a compare-and-set on its last use. Whoever
stores a task marks its files as used first, so a task that the walk did not meet makes that fail (P6). What
an attempt uploads is referred to by nothing until its outcome is settled: so only what was used last before
the oldest task that runs was made may go. Run by the cleaner's thread; a round that breaks off is begun anew.
"""

from __future__ import annotations

from enum import Enum, auto

from khala.core.retention import FilePage, FileUse
from khala.store.interface import Store

CANDIDATES_MOST = 10_000
PAGE_FILES = 500
PAGE_TASKS = 1_000
PAGE_JOBS = 100
PAGE_UPLOADS = 50
DROPPED_AT_ONCE = 20
UPLOAD_S = 86_400.0
"""No upload takes so long."""
ROUND_S = 3_600.0
START = (0.0, "")


class _Phase(Enum):
    """What the next step does."""

    LOOK = auto()
    TASKS = auto()
    JOBS = auto()
    DROP = auto()
    UPLOADS = auto()


class UnusedFiles:
    """`kept_s` is for how many seconds a file is kept since it was used last."""

    def __init__(self, store: Store, kept_s: float) -> None:
        self._store = store
        self._kept_s = kept_s
        self._begin(0.0)
        self.removed = 0

    def _begin(self, at: float) -> None:
        self._phase, self._begin_at = _Phase.LOOK, at
        self._unused: dict[str, FileUse] = {}
        self._looked, self._after = "", START

    def step(self, unix_s: float, boot_s: float) -> bool:
        """Do the next step of a round, if it is time; is there more to do at once?"""
        if boot_s < self._begin_at:
            return False
        match self._phase:
            case _Phase.LOOK:
                self._look(unix_s)
            case _Phase.TASKS:
                self._spare(self._store.files_of_tasks(self._after, PAGE_TASKS), _Phase.JOBS)
            case _Phase.JOBS:
                self._spare(self._store.files_of_jobs(self._after, PAGE_JOBS), _Phase.DROP)
            case _Phase.DROP:
                self._drop()
            case _Phase.UPLOADS:
                self._looked = self._store.sweep_uploads(unix_s - UPLOAD_S, self._looked, PAGE_UPLOADS)
                if not self._looked:
                    self._begin(boot_s + min(ROUND_S, self._kept_s))
        return boot_s >= self._begin_at

    def _look(self, unix_s: float) -> None:
        before = min(unix_s - self._kept_s, self._store.oldest_active())
        found, self._looked = self._store.files_unused_since(before, self._looked, PAGE_FILES)
        self._unused |= {use.sha256: use for use in found}
        if not self._looked or len(self._unused) >= CANDIDATES_MOST:
            self._looked, self._phase = "", _Phase.TASKS if self._unused else _Phase.UPLOADS

    def _spare(self, page: FilePage, then: _Phase) -> None:
        needed = sorted(page.sha256s & self._unused.keys())
        self._store.touch_files(needed)
        for sha256 in needed:
            del self._unused[sha256]
        if page.last is None or not self._unused:
            self._after, self._phase = START, then
        else:
            self._after = page.last

    def _drop(self) -> None:
        for sha256 in list(self._unused)[:DROPPED_AT_ONCE]:
            self.removed += self._store.drop_file(self._unused.pop(sha256))
        if not self._unused:
            self._phase = _Phase.UPLOADS
