"""The in-memory twin's tasks: what each method of `TaskStore` means, in its plainest form.

It owns one dictionary of frozen tasks and their ids by state. `MemoryStore` holds its lock around each
call. No clock, no randomness, no thread.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from khala.core.changes import Change, Changed, Inserted
from khala.core.commands import SearchTasks, TaskPage
from khala.core.files import file_ids_of
from khala.core.lifecycle import Amended, CancelRequested, transition
from khala.core.messages import QueuedTask
from khala.core.retention import DueTask, FilePage, FinishedTask, Standing
from khala.core.task import ACTIVE, TERMINAL, Epoch, State, Task, TaskEvent, demand_of
from khala.store.interface import QueueKey
from khala.store.views import as_hint, as_view, check_view, label_texts, page_of, plan_page

Recorder = Callable[[tuple[Epoch, str, TaskEvent]], None]


class TaskTable:
    """Tasks by id."""

    def __init__(self, record: Recorder | None) -> None:
        self._record = record
        self._tasks: dict[str, Task] = {}
        self._tombstones: dict[str, tuple[str, str]] = {}
        self._purged: dict[str, tuple[State, float]] = {}
        self._by_state: dict[State, set[str]] = {state: set() for state in State}

    def copy(self) -> TaskTable:
        """All tasks as they are now."""
        other = TaskTable(self._record)
        other._tasks, other._tombstones = dict(self._tasks), dict(self._tombstones)
        other._purged = dict(self._purged)
        other._by_state = {state: set(ids) for state, ids in self._by_state.items()}
        return other

    def insert(self, task: Task) -> Inserted:
        """Store one new task, or say why not."""
        stored = self._tasks.get(task.id)
        known = _request(stored) if stored else self._tombstones.get(task.id)
        if known is not None:
            same = task.request_digest != "" and known == _request(task)
            return Inserted(task_id=task.id, answer="repeated" if same else "conflict")
        self._tasks[task.id] = task
        self._by_state[task.control.state].add(task.id)
        for event in task.events:
            self._tell(Epoch(), task.id, event)
        return Inserted(task_id=task.id, answer="created")

    def commit(self, epoch: Epoch, changes: Sequence[Change]) -> Sequence[Changed]:
        """Apply those changes that fit, in order; the answers show the tasks as the batch left them."""
        applied = [self._apply(epoch, change) for change in changes]
        return [self._changed(change, done) for change, done in zip(changes, applied, strict=True)]

    def request_cancel(self, task_ids: Sequence[str], at: float, owner: str | None) -> Sequence[Task]:
        """Put the request on those that are neither finished nor already asked to end."""
        found = [task.id for task in self.read(task_ids, "minimal") if owner in (None, task.owner)]
        for task_id in found:
            task = self._tasks[task_id]
            if task.control.state not in TERMINAL and not task.control.cancel_requested:
                control, event = transition(task.control, CancelRequested(), at=at, epoch=Epoch())
                self._replace(replace(task, control=control, events=(*task.events, event)))
                self._tell(Epoch(), task_id, event)
        return [as_hint(self._tasks[task_id]) for task_id in found]

    def amend(
        self,
        task_id: str,
        at: float,
        detail: str,
        labels: Mapping[str, str] | None,
        priority: int | None,
        owner: str | None,
    ) -> Task | None:
        """Change labels and priority of one that is not finished."""
        task = self._own(task_id, owner)
        if task is None or task.control.state in TERMINAL:
            return task and as_view(task, "basic")
        spec = replace(
            task.spec,
            labels=task.spec.labels if labels is None else dict(labels),
            priority=task.spec.priority if priority is None else priority,
        )
        control, event = transition(task.control, Amended(), at=at, epoch=Epoch())
        event = replace(event, detail=detail)
        self._replace(replace(task, spec=spec, control=control, events=(*task.events, event)))
        self._tell(Epoch(), task_id, event)
        return as_view(self._tasks[task_id], "basic")

    def purge(self, task_id: str, at: float, owner: str | None) -> Task | None:
        """A tombstone for a finished one."""
        task = self._own(task_id, owner)
        if task is not None and task.control.state in TERMINAL:
            self._by_state[task.control.state].discard(task_id)
            self._purged[task_id] = (task.control.state, at)
            self._tombstones[task_id] = _request(self._tasks.pop(task_id))
        return task and as_view(task, "minimal")

    def _own(self, task_id: str, owner: str | None) -> Task | None:
        task = self._tasks.get(task_id)
        return task if task is not None and owner in (None, task.owner) else None

    def read(self, task_ids: Sequence[str], view: str) -> Sequence[Task]:
        """The tasks that exist, once each, in the order asked."""
        check_view(view)
        known = (self._tasks.get(task_id) for task_id in dict.fromkeys(task_ids))
        return [as_view(task, view) for task in known if task]

    def standings(
        self, task_ids: Sequence[str], owner: str | None, needed_at: float | None
    ) -> Mapping[str, State]:
        """Of tasks and of tombstones."""
        found = {}
        for task_id in task_ids:
            task, purged = self._tasks.get(task_id), self._purged.get(task_id)
            whose = task.owner if task else self._tombstones.get(task_id, ("", ""))[0]
            if owner not in (None, whose):
                continue
            if task:
                found[task_id] = task.control.state
            elif purged:
                found[task_id] = purged[0]
                self._purged[task_id] = (purged[0], max(purged[1], needed_at or 0.0))
        return found

    def due(self, task_id: str) -> DueTask:
        """How one stands on its way out."""
        task, purged = self._tasks.get(task_id), self._purged.get(task_id)
        if task is not None:
            over = task.control.state in TERMINAL
            return DueTask(task_id=task_id, standing=Standing.FINISHED if over else Standing.OPEN)
        if purged is not None:
            return DueTask(task_id=task_id, standing=Standing.PURGED, purged_at=purged[1])
        return DueTask(task_id=task_id, standing=Standing.GONE)

    def forget(self, due: DueTask) -> bool:
        """Drop a tombstone that is still so; is there nothing any more?"""
        if self.due(due.task_id) == due and due.standing == Standing.PURGED:
            del self._purged[due.task_id], self._tombstones[due.task_id]
        return self.due(due.task_id).standing == Standing.GONE

    def finished(
        self, state: State, after: tuple[float, str], created_before: float, limit: int
    ) -> Sequence[FinishedTask]:
        """By age."""
        found = (task for task in self._in(state) if _key(task) > after and task.created_at < created_before)
        return [_finished_of(task) for task in sorted(found, key=_key)[:limit]]

    def oldest_open(self) -> float:
        """When it was made."""
        return self.oldest([state for state in State if state not in TERMINAL])

    def oldest(self, states: Iterable[State]) -> float:
        """When the oldest in these states was made."""
        return min((task.created_at for task in self._in(*states)), default=math.inf)

    def files(self, after: tuple[float, str], limit: int) -> FilePage:
        """What a page of them refers to."""
        page = sorted((task for task in self._tasks.values() if _key(task) > after), key=_key)[:limit]
        needed = {sha256 for task in page for sha256 in file_ids_of(task.spec)}
        kept = {file.sha256 for task in page if task.result for file in task.result.outputs}
        last = _key(page[-1]) if page and len(page) == limit else None
        return FilePage(sha256s=frozenset(needed | kept), last=last)

    def has_any(self, first: str, last: str) -> bool:
        """Is there a task or a tombstone with such an id?"""
        return any(first <= task_id <= last for task_id in (*self._tasks, *self._tombstones))

    def scan_queue(self, after: tuple[float, str], limit: int) -> Sequence[QueuedTask]:
        """Pending tasks by (created_at, id)."""
        pending = (task for task in self._in(State.PENDING) if _key(task) > after)
        return [_queued(task) for task in sorted(pending, key=_key)[:limit]]

    def scan_queue_keys(self, after: tuple[float, str], limit: int) -> Sequence[QueueKey]:
        """The keys of the same, and their revs."""
        found = self.scan_queue(after, limit)
        return [(each.demand.created_at, each.task_id, each.control.rev) for each in found]

    def scan_active(self, after: str, limit: int) -> Sequence[QueuedTask]:
        """Assigned and running tasks by id."""
        active = (task for task in self._in(*ACTIVE) if task.id > after)
        return [_queued(task) for task in sorted(active, key=_id)[:limit]]

    def scan_cancels(self, limit: int) -> Sequence[QueuedTask]:
        """Tasks to be cancelled, by id."""
        waiting = (task for task in self._in(State.PENDING, *ACTIVE) if task.control.cancel_requested)
        return [_queued(task) for task in sorted(waiting, key=_id)[:limit]]

    def search(self, query: SearchTasks) -> TaskPage:
        """One page."""
        plan = plan_page(query)
        found = sorted(
            (task for task in self._tasks.values() if _matches(task, query)),
            key=_key,
            reverse=not query.oldest_first,
        )
        total = len(found) if query.count_total else -1
        if plan.after is not None:
            follows = operator.gt if query.oldest_first else operator.lt
            found = [task for task in found if follows(_key(task), plan.after)]
        window = found[query.offset : query.offset + plan.take + 1]
        return page_of([as_view(task, query.view) for task in window], plan, total)

    def between(self, first: str, last: str) -> Sequence[Task]:
        """The tasks whose ids are in this range, ends included."""
        return [task for task_id, task in self._tasks.items() if first <= task_id <= last]

    def counts(self, owner: str | None) -> Mapping[str, int]:
        """Tasks per state that has any."""
        if owner is None:
            return {state.value: len(ids) for state, ids in self._by_state.items() if ids}
        return Counter(task.control.state.value for task in self._tasks.values() if task.owner == owner)

    def _apply(self, epoch: Epoch, change: Change) -> bool:
        task = self._tasks.get(change.task_id)
        if task is None or task.control.rev != change.expected_rev:
            return False
        result = task.result if change.result is None else change.result
        events = (*task.events, change.event)
        self._replace(replace(task, control=change.control, result=result, events=events))
        self._tell(epoch, task.id, change.event)
        return True

    def _changed(self, change: Change, applied: bool) -> Changed:
        current = self._tasks.get(change.task_id)
        if applied:
            spec = current.spec if current and change.want_spec else None
            return Changed(task_id=change.task_id, applied=True, spec=spec)
        return Changed(
            task_id=change.task_id, applied=False, current=as_view(current, "basic") if current else None
        )

    def _replace(self, task: Task) -> None:
        self._by_state[self._tasks[task.id].control.state].discard(task.id)
        self._by_state[task.control.state].add(task.id)
        self._tasks[task.id] = task

    def _in(self, *states: State) -> Iterator[Task]:
        return (self._tasks[task_id] for state in states for task_id in self._by_state[state])

    def _tell(self, epoch: Epoch, task_id: str, event: TaskEvent) -> None:
        if self._record:
            self._record((epoch, task_id, event))


def _key(task: Task) -> tuple[float, str]:
    return task.created_at, task.id


def _request(task: Task) -> tuple[str, str]:
    return task.owner, task.request_digest


def _id(task: Task) -> str:
    return task.id


def _queued(task: Task) -> QueuedTask:
    return QueuedTask(task_id=task.id, control=task.control, demand=demand_of(task))


def _finished_of(task: Task) -> FinishedTask:
    return FinishedTask(
        task_id=task.id,
        created_at=task.created_at,
        finished_at=task.control.finished_at or 0.0,
        job_id=task.job_id,
        ttl_s=task.spec.ttl_after_finished_s,
    )


def _matches(task: Task, query: SearchTasks) -> bool:
    spec, control = task.spec, task.control
    return (
        (query.user is None or spec.user == query.user)
        and query.owner in (None, task.owner)
        and (not query.states or control.state in query.states)
        and spec.name.startswith(query.name_prefix)
        and (not query.executor or control.executor == query.executor)
        and (not query.exit_reason or control.exit_reason == query.exit_reason)
        and (not query.label or query.label in label_texts(task))
        and query.job_id in ("", task.job_id)
        and (query.created_after is None or task.created_at >= query.created_after)
        and (query.created_before is None or task.created_at < query.created_before)
    )
