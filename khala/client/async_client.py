"""The asynchronous client: every call of the API as a coroutine, on the caller's event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from types import TracebackType

from khala.client.calls import Calls
from khala.client.harvest import ASKED_AT_ONCE, slice_s
from khala.client.httpx_wires import HttpxWire
from khala.client.task_calls import NotFinished
from khala.client.transport import Transport, checked_url
from khala.client.views import TaskView


class AsyncClient(Calls):
    """A connection to one gateway, with the methods of `Client` to be awaited.

    `follow`, `read_output`, `map` and `as_completed` are iterated with `async for`. Of one event loop.
    """

    def __init__(
        self, url: str, token: str = "", *, patience_s: float = 30.0, timeout_s: float = 30.0
    ) -> None:
        url = checked_url(url)
        super().__init__(Transport(url, token, HttpxWire(url), patience_s=patience_s, timeout_s=timeout_s))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def as_completed(
        self, task_ids: Iterable[str], *, timeout_s: float | None = None
    ) -> AsyncGenerator[TaskView, None]:
        """The tasks of these ids as each of them ends; NotFinished after `timeout_s` seconds.

        Refusal `not_found` for one that is not there.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        turn = deque(dict.fromkeys(task_ids))
        asked: set[asyncio.Task[TaskView]] = set()
        try:
            while turn or asked:
                while turn and len(asked) < ASKED_AT_ONCE:
                    look = self.get(turn.popleft(), wait_s=slice_s(len(turn)))
                    asked.add(asyncio.create_task(look))
                left_s = None if deadline is None else max(0.0, deadline - loop.time())
                answered, asked = await asyncio.wait(
                    asked, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not answered:
                    left = len(asked) + len(turn)
                    raise NotFinished(f"{left} tasks are not finished after {timeout_s} s: wait longer")
                for each in answered:
                    task = each.result()
                    if task.finished:
                        yield task
                    else:
                        turn.append(task.id)
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
