"""Creating tasks: ids that make a repeat harmless, and submits of a size that the wire takes.

A task's id is chosen here, before anything is sent: from the Idempotency-Key when there is one, else
at random. So the same submit may be sent again, by the gateway or by the client (P2).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from khala.core.commands import NewTask, SubmitTasks, TaskAccepted, TasksAccepted
from khala.core.task import Command, TaskSpec
from khala.core.validation import inline_bytes
from khala.errors import Fault, Refusal
from khala.gateway.exchange import Call

MAX_SUBMIT_TASKS = 250
"""In one message: the first of them are stored, and begin, while the next are read."""
MAX_SUBMIT_BYTES = 4 * 1024 * 1024
MAX_KEY_CHARS = 256
SUBMITS_AT_A_TIME = 4
SUBMIT_TIMEOUT_S = 10.0
_TASK_OVERHEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class TaskIds:
    """Gives the tasks of one request their ids."""

    token: str
    key: str

    def of(self, index: int) -> str:
        """24 hexadecimal digits: always the same for the same token, key and `index`."""
        if not self.key:
            return fresh_id()
        owner = hashlib.sha256(self.token.encode()).hexdigest() if self.token else ""
        # NUL cannot occur in any of the three, so no two triples read the same.
        return hashlib.sha256(f"{owner}\0{self.key}\0{index}".encode()).hexdigest()[:24]


def ids_for(call: Call) -> TaskIds:
    """The ids of a request, by its Idempotency-Key header."""
    key = str(call.request.headers.get("idempotency-key", ""))
    if len(key) > MAX_KEY_CHARS or not key.isascii() or (key and not key.isprintable()):
        raise Refusal(
            f"Idempotency-Key: expected at most {MAX_KEY_CHARS} printable ASCII characters",
            code="malformed",
            field="Idempotency-Key",
        )
    return TaskIds(call.caller.token, key)


def fresh_id() -> str:
    """A new id: seconds first, so that ids sort roughly by age, then 64 random bits."""
    return f"{int(time.time()) & 0xFFFFFFFF:08x}{secrets.token_hex(8)}"


async def submit_one(call: Call, task: NewTask) -> TaskAccepted:
    """Store one task; raises Refusal as the judicator put it."""
    (accepted,) = await submit(call, [task])
    if accepted.error_code:
        raise Refusal(accepted.error_detail, code=accepted.error_code, field=accepted.error_field)
    return accepted


async def submit(call: Call, tasks: Sequence[NewTask]) -> Sequence[TaskAccepted]:
    """Store tasks that fit into one message; the answers in order."""
    command = SubmitTasks(tasks=tuple(tasks), caller=call.caller)
    reply = await call.ask(command, TasksAccepted, timeout_s=SUBMIT_TIMEOUT_S)
    if len(reply.results) != len(tasks):
        raise Fault(f"{len(tasks)} tasks were answered by {len(reply.results)} results")
    return reply.results


def portions(tasks: Sequence[NewTask]) -> Iterator[Sequence[NewTask]]:
    """`tasks` in order, cut so that each part fits into one message."""
    part: list[NewTask] = []
    size, task_bytes, measured = 0, 0, None
    for task in tasks:
        if task.spec is not measured:
            task_bytes, measured = wire_bytes(task.spec), task.spec
        if part and (len(part) >= MAX_SUBMIT_TASKS or size + task_bytes > MAX_SUBMIT_BYTES):
            yield part
            part, size = [], 0
        part.append(task)
        size += task_bytes
    if part:
        yield part


def wire_bytes(spec: TaskSpec) -> int:
    """About how many bytes `spec` takes in a message; never much less than it does."""
    pairs = [*spec.labels.items(), *spec.constraints.items()]
    commands = [command for command in (spec.compile, spec.execute) if command is not None]
    paths = [entry.path for entry in spec.inputs] + [archive.path for archive in spec.archives]
    paths += [output.glob for output in spec.outputs]
    return (
        _TASK_OVERHEAD_BYTES
        + inline_bytes(spec)
        + 4 * len(spec.name)
        + sum(4 * (len(key) + len(value)) + 8 for key, value in pairs)
        + sum(_command_bytes(command) for command in commands)
        + sum(4 * len(path) + 128 for path in paths)
    )


def limiter() -> asyncio.Semaphore:
    """What bounds the submits of one request that are under way together."""
    return asyncio.Semaphore(SUBMITS_AT_A_TIME)


def _command_bytes(command: Command) -> int:
    words = (command.shell, *command.argv)
    return sum(4 * len(word) + 8 for word in words) + sum(
        4 * (len(name) + len(value)) + 16 for name, value in command.env.items()
    )
