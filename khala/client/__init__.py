"""The Python client of Khala's HTTP API: `Client`, `AsyncClient`, and an executor for commands.

>>> from khala.client import Client, CommandExecutor
>>> with Client("http://127.0.0.1:7000", token=token) as client:
...     task = client.run({"execute": {"command": "echo hello"}}, timeout_s=60)
>>> task.state, task.execute.stdout.text
('succeeded', 'hello\\n')

Many commands, their results in order, or as they come:

>>> with Client("http://127.0.0.1:7000", token=token) as client:
...     [task.execute.stdout.text for task in client.map("expr {} '*' {}", ["6", "7"])]
...     ids = [client.submit({"execute": {"command": f"exit {code}"}}) for code in (0, 3)]
...     sorted(task.execute.exit_code for task in client.as_completed(ids))
...     with CommandExecutor(client) as pool:
...         futures = [pool.submit("echo {}", word) for word in ("one", "two words")]
...         [future.result().execute.stdout.text for future in futures]
['36\\n', '49\\n']
[0, 3]
['one\\n', 'two words\\n']

A job: up to 100,000 tasks of one template, made by the cluster itself.

>>> with Client("http://127.0.0.1:7000", token=token) as client:
...     job = client.submit_job(
...         {
...             "task": {"execute": {"command": "expr {x} '*' {y}"}},
...             "array": {"matrix": {"x": [2, 3], "y": [5, 7]}},
...         }
...     )
...     [int(line["stdout"]) for line in client.results(job.id, follow=True)]
...     client.wait_job(job.id, timeout_s=60).state
[10, 14, 15, 21]
'succeeded'

What a task writes, while it runs; a connection that breaks is gone on from:

>>> with Client("http://127.0.0.1:7000", token=token) as client:
...     task_id = client.submit({"execute": {"command": "seq 3"}})
...     b"".join(piece.data for piece in client.follow(task_id) if isinstance(piece, OutputPiece))
b'1\\n2\\n3\\n'

The same on an event loop:

>>> async def main() -> None:
...     async with AsyncClient("http://127.0.0.1:7000", token=token) as client:
...         async for task in client.map("echo {} | tr a-z A-Z", ["a", "b"]):
...             print(task.execute.stdout.text, end="")
>>> asyncio.run(main())
A
B
"""

from typing import TYPE_CHECKING

from khala.client.client import Client
from khala.client.harvest import Harvest, Seen
from khala.client.task_calls import WAIT_SLICE_S, NotFinished, new_key, submitted_id
from khala.client.views import (
    STATES,
    DifferenceView,
    JobPageView,
    JobView,
    OutputEnd,
    OutputFileView,
    OutputPiece,
    OutputView,
    PhaseView,
    TaskPageView,
    TaskView,
)

if TYPE_CHECKING:
    from khala.client.async_client import AsyncClient
    from khala.client.executor import CommandExecutor, CommandFuture

__all__ = [
    "STATES",
    "WAIT_SLICE_S",
    "AsyncClient",
    "Client",
    "CommandExecutor",
    "CommandFuture",
    "DifferenceView",
    "Harvest",
    "JobPageView",
    "JobView",
    "NotFinished",
    "OutputEnd",
    "OutputFileView",
    "OutputPiece",
    "OutputView",
    "PhaseView",
    "Seen",
    "TaskPageView",
    "TaskView",
    "new_key",
    "submitted_id",
]

_LATER = {
    "AsyncClient": "khala.client.async_client",
    "CommandExecutor": "khala.client.executor",
    "CommandFuture": "khala.client.executor",
}
"""Loaded when it is asked for: it brings httpx and asyncio with it, which no command needs."""


def __getattr__(name: str) -> object:
    place = _LATER.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(place), name)
