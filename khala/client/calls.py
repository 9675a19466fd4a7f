"""All calls of the API, as coroutines over one transport."""

from __future__ import annotations

from khala.client.cluster_calls import ClusterCalls
from khala.client.job_calls import JobCalls
from khala.client.task_calls import TaskCalls
from khala.client.transport import Transport


class Calls(TaskCalls, JobCalls, ClusterCalls):
    """What both clients can do."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def close(self) -> None:
        """Release the connections."""
        await self._transport.close()
