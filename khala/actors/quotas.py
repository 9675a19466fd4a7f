"""Whether an owner may queue more tasks. Owned by Submissions, whose thread blocks in the store here.

What an owner has is read from the store at most once a second and counted on in between, so judicators
that take tasks at the same time may together exceed a quota by what they take within that second.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from khala.actors.messages import InsertTasks
from khala.actors.new_tasks import without
from khala.core.task import Task
from khala.errors import Refusal
from khala.store.interface import PeopleStore, Store

COUNTED_FOR_S = 1.0
OWNERS_REMEMBERED = 1_000


class Quotas:
    """Times are CLOCK_BOOTTIME, in seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queued: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def admit(self, insert: InsertTasks, now: float) -> InsertTasks:
        """`insert` without the tasks that are beyond the owner's quota, which are refused in it.

        A task that is stored already is nothing more: it passes. Raises Unavailable."""
        most = insert.who.quota.queued
        if most is None or not insert.tasks:
            return insert
        room = max(0, most - self._count(insert.who.user, now))
        kept = list(insert.tasks[:room])
        beyond = insert.tasks[room:]
        stored = self._stored(beyond) if beyond else frozenset()
        kept += [task for task in beyond if task.id in stored]
        self._add(insert.who.user, min(room, len(insert.tasks)))
        why = Refusal(
            f"{insert.who.user} may have {most} tasks waiting: wait, or cancel some", code="too_many_requests"
        )
        taken = {task.id for task in kept}
        return without(insert, {task.id: why for task in beyond if task.id not in taken})

    def _count(self, owner: str, now: float) -> int:
        count, until = self._queued.get(owner, (0, 0.0))
        if until <= now:
            count, until = self._store.usage(owner).queued, now + COUNTED_FOR_S
            self._queued[owner] = (count, until)
            self._queued.move_to_end(owner)
            while len(self._queued) > OWNERS_REMEMBERED:
                self._queued.popitem(last=False)
        return count

    def _add(self, owner: str, tasks: int) -> None:
        count, until = self._queued[owner]
        self._queued[owner] = (count + tasks, until)

    def _stored(self, tasks: Sequence[Task]) -> frozenset[str]:
        return frozenset(task.id for task in self._store.read([task.id for task in tasks], view="minimal"))


def check_queued(store: PeopleStore, user: str, most: int | None, tasks: int) -> None:
    """Raise Refusal if so many tasks more are beyond what `user` may have waiting; Unavailable."""
    if most is not None and store.usage(user).queued + tasks > most:
        raise Refusal(f"{user} may have {most} tasks waiting: wait, or cancel some", code="too_many_requests")


def check_stored_bytes(store: PeopleStore, user: str, most: int | None, size: int) -> None:
    """Raise Refusal if a file of `size` bytes is beyond what `user` may have; Unavailable."""
    if most is not None and store.usage(user).stored_bytes + size > most:
        raise Refusal(
            f"{user} may store {most} bytes of files, and this one of {size} would be beyond that",
            code="quota_exceeded",
            field="size",
        )
