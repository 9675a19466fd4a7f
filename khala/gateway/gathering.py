"""Looks at single tasks, gathered: what one caller's followers ask within a moment is one question.

Runs on the event loop; one of these for each worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from khala.core.commands import GetTasks, TaskViews
from khala.core.task import Task
from khala.gateway.exchange import Call
from khala.gateway.reading import no_task

GATHER_S = 0.05
MOST_TASKS = 100


@dataclass(slots=True)
class _Question:
    """The ids that are asked for, each once; `answer` comes when no more can join."""

    ids: dict[str, None] = field(default_factory=dict)
    answer: asyncio.Task[Mapping[str, Task]] | None = None


class GatheredLooks:
    """The questions that others may still join, by the caller's token."""

    def __init__(self) -> None:
        self._open: dict[str, _Question] = {}

    async def look(self, call: Call, id: str) -> Task:
        """The task as it is, without what it has said (view `minimal`); Refusal `not_found`, also for a task
        that the caller may not see. Raises what the judicators answer."""
        question = self._open.get(call.caller.token)
        if question is None:
            question = self._open[call.caller.token] = _Question()
            question.answer = asyncio.ensure_future(self._ask(call, question))
        question.ids[id] = None
        if len(question.ids) >= MOST_TASKS:
            self._close(call, question)
        assert question.answer is not None
        found = (await asyncio.shield(question.answer)).get(id)
        if found is None:
            raise no_task(id)
        return found

    async def _ask(self, call: Call, question: _Question) -> Mapping[str, Task]:
        """Whoever began the question may be gone before it is answered."""
        await asyncio.sleep(GATHER_S)
        self._close(call, question)
        command = GetTasks(task_ids=tuple(question.ids), view="minimal", caller=call.caller)
        return {task.id: task for task in (await call.ask(command, TaskViews)).tasks}

    def _close(self, call: Call, question: _Question) -> None:
        if self._open.get(call.caller.token) is question:
            del self._open[call.caller.token]
