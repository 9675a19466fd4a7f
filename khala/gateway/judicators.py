"""The one thing behind the gateway: something that answers commands.

`khala.gateway.rpc` makes it out of the bus's RPC client; tests put a model of a cluster there.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from khala.core.commands import (
    CancelTasks,
    CountTasks,
    ExecutorViews,
    GetTasks,
    JudicatorRemoval,
    JudicatorViews,
    ListExecutors,
    ListJudicators,
    Ping,
    Pong,
    RemoveJudicator,
    SearchTasks,
    SubmitTasks,
    TaskCancels,
    TaskCounts,
    TaskPage,
    TasksAccepted,
    TaskViews,
)
from khala.core.jobs import (
    CancelJob,
    CreateJob,
    GetJobs,
    JobAccepted,
    JobPage,
    JobViews,
    RetryJob,
    SearchJobs,
)
from khala.core.operations import AmendTask, DrainExecutor, DrainOrdered, GetMetrics, Metrics, PurgeTask
from khala.core.people import (
    AuditPage,
    CreateToken,
    DeleteUser,
    GetMe,
    ListAudit,
    ListTokens,
    ListUsers,
    Me,
    PutUser,
    RevokeToken,
    TokenViews,
    UserViews,
)
from khala.core.transfers import FileChunk, FileStored, GetFileChunk, GetOutput, OutputPart, PutFileChunk

Command = (
    Ping
    | GetMe
    | PutUser
    | ListUsers
    | DeleteUser
    | CreateToken
    | ListTokens
    | RevokeToken
    | ListAudit
    | AmendTask
    | PurgeTask
    | DrainExecutor
    | GetMetrics
    | SubmitTasks
    | CancelTasks
    | GetTasks
    | SearchTasks
    | ListExecutors
    | ListJudicators
    | RemoveJudicator
    | CountTasks
    | PutFileChunk
    | GetFileChunk
    | GetOutput
    | CreateJob
    | GetJobs
    | SearchJobs
    | CancelJob
    | RetryJob
)
Reply = (
    Pong
    | Me
    | UserViews
    | TokenViews
    | AuditPage
    | DrainOrdered
    | Metrics
    | TasksAccepted
    | TaskCancels
    | TaskViews
    | TaskPage
    | ExecutorViews
    | JudicatorViews
    | JudicatorRemoval
    | TaskCounts
    | FileStored
    | FileChunk
    | OutputPart
    | JobAccepted
    | JobViews
    | JobPage
)
AnyReply = TypeVar("AnyReply", bound=Reply)


class Judicators(Protocol):
    """The cluster's judicators, whichever of them answers. Used from one event loop."""

    async def call(self, command: Command, *, timeout_s: float = 10.0) -> Reply:
        """The reply that belongs to `command`, within `timeout_s` seconds.

        Raises Refusal (the caller is wrong), Unavailable (nothing happened) or OutcomeUnknown.
        """
        ...

    def close(self) -> None:
        """Release the connections."""
        ...
