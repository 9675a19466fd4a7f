"""Asking for a page of tasks that may turn out to be too large for one message."""

from __future__ import annotations

from dataclasses import replace

from khala.core.commands import SearchTasks, TaskPage
from khala.errors import Refusal
from khala.gateway.exchange import Call


async def search(call: Call, command: SearchTasks) -> TaskPage:
    """A page of at most `command.limit` tasks: of fewer, when so many would not fit into one answer.

    Its token continues after the last task that it has, so nothing is left out.
    """
    command = replace(command, caller=call.caller)
    while True:
        try:
            return await call.ask(command, TaskPage)
        except Refusal as error:
            if error.code != "too_large" or command.limit <= 1:
                raise
        command = replace(command, limit=command.limit // 2)
