"""From the RPC client's futures to awaited replies, with patience: what may be asked again, is.

Runs on the event loop of one Sanic worker; the client's own threads only complete futures. It must
not repeat a command that is a step of a sequence (PutFileChunk): `khala.gateway.uploads` begins
such a sequence anew instead.
"""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import Future
from typing import Any, Protocol

from khala.core.commands import GetTasks
from khala.core.transfers import GetOutput, PutFileChunk
from khala.errors import OutcomeUnknown, Unavailable
from khala.gateway.judicators import Command, Reply

TRY_S = 4.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class RpcClient(Protocol):
    """What this needs of `khala.bus.rpc_client.RpcClient`."""

    def call(self, command: object, *, timeout_s: float = 10.0) -> Future[Any]:
        """Send to any judicator; the future fails with Refusal, Unavailable or OutcomeUnknown."""
        ...

    def close(self) -> None:
        """Release the connections."""
        ...


class PatientJudicators:
    """`Judicators` over an RPC client: repeats idempotent commands until a deadline.

    Reads are idempotent; so are submits, as the gateway chooses the ids, and cancels. One try gets
    at most `try_s` seconds (and the time that it was told to wait for), so that one judicator that
    went silent does not use up the whole deadline.
    """

    def __init__(self, client: RpcClient, *, try_s: float = TRY_S, dice: random.Random | None = None) -> None:
        self._client = client
        self._try_s = try_s
        self._dice = dice or random.Random()

    async def call(self, command: Command, *, timeout_s: float = 10.0) -> Reply:
        """See `Judicators.call`."""
        deadline = time.monotonic() + timeout_s
        once = isinstance(command, PutFileChunk)
        try_s = timeout_s if once else self._try_s
        if isinstance(command, GetTasks | GetOutput):
            try_s += command.wait_s
        pause_s = FIRST_PAUSE_S
        doubt: OutcomeUnknown | None = None
        while True:
            try:
                return await self._try(command, min(try_s, max(deadline - time.monotonic(), 0.05)))
            except Unavailable as error:
                # Once a try may have had an effect, a later "nothing happened" does not undo it.
                doubt = error if isinstance(error, OutcomeUnknown) else doubt
                wait_s = pause_s * self._dice.uniform(0.5, 1.5)
                if once or time.monotonic() + wait_s >= deadline:
                    raise doubt or error  # noqa: B904 (one of them is the cause of the other, or both are one)
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def close(self) -> None:
        """See `Judicators.close`."""
        self._client.close()

    async def _try(self, command: Command, timeout_s: float) -> Reply:
        try:
            async with asyncio.timeout(timeout_s + 1.0):
                reply: Reply = await asyncio.wrap_future(self._client.call(command, timeout_s=timeout_s))
                return reply
        except TimeoutError as error:
            raise OutcomeUnknown(f"no judicator answered within {timeout_s:.1f} s; try again") from error
