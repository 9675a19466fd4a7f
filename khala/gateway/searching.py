"""Asking for a page of tasks, which may turn out to be too large for one message, or to be empty so far."""

from __future__ import annotations

import time
from dataclasses import replace

from khala.core.commands import SearchTasks, TaskPage
from khala.errors import Refusal
from khala.gateway.exchange import Call

LOOKS_ON_S = 0.03


async def search(call: Call, command: SearchTasks) -> TaskPage:
    """A page of at most `command.limit` tasks: of fewer, when so many would not fit into one answer, or when
    those that were looked at do not match. Looks on for a moment while there are none.

    Its token continues where it ends, so nothing is left out.
    """
    command, until = replace(command, caller=call.caller), time.monotonic() + LOOKS_ON_S
    while True:
        page = await _page(call, command)
        if page.tasks or not page.next_page_token or command.count_total or time.monotonic() > until:
            return page
        command = replace(command, page_token=page.next_page_token)


async def _page(call: Call, command: SearchTasks) -> TaskPage:
    """One answer."""
    while True:
        try:
            return await call.ask(command, TaskPage)
        except Refusal as error:
            if error.code != "too_large" or command.limit <= 1:
                raise
        command = replace(command, limit=command.limit // 2)
