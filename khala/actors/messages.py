"""Messages that never leave their node: between a node's own actors and its threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from khala.bus.envelope import Envelope
from khala.coordination.interface import ClusterView
from khala.core.access import Identity
from khala.core.commands import TaskAccepted
from khala.core.output import StreamKey
from khala.core.task import Task
from khala.core.transfers import PutFileChunk


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: look at the clock."""


@dataclass(frozen=True, slots=True)
class LookIntoMail:
    """Envelopes came: handle all that are there."""


@dataclass(frozen=True, slots=True)
class AreYouUp:
    """The supervisor's question to an actor that it started; the answer says nothing but yes."""


@dataclass(frozen=True, slots=True)
class Began:
    """An actor of this node was started, maybe again: what was sent to it before may be lost."""

    actor: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Everything that was in the inbox before this has been handled: act on it as one batch."""


@dataclass(frozen=True, slots=True)
class ViewWanted:
    """An actor that has just started asks for the cluster's view."""


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """What coordination knows now. `gap`: it could not be read until just before."""

    view: ClusterView
    gap: bool = False


@dataclass(frozen=True, slots=True)
class InsertTasks:
    """Store these tasks of `who`, about `size_bytes` in all, and answer the envelope; `refused` holds the
    answers to those that were refused before, by place."""

    who: Identity
    tasks: tuple[Task, ...]
    refused: dict[int, TaskAccepted]
    size_bytes: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class TakeChunk:
    """Take this part of a file that `who` sends, and answer the sender."""

    who: Identity
    chunk: PutFileChunk


@dataclass(frozen=True, slots=True)
class AskAccounts:
    """Carry out this command about people, which `who` may give, and answer the envelope."""

    who: Identity
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class AskJobs:
    """Carry out this command about a job, which `who` may give, and answer the envelope."""

    who: Identity
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class NoteAction:
    """`who` was let in to do this: put it on record."""

    who: Identity
    action: str
    target: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AccountsChanged:
    """What was remembered of tokens may be wrong now."""


@dataclass(frozen=True, slots=True)
class CallsAnswered:
    """An actor answered callers that the front door had sent to it (P15). `created` are the new tasks
    (id, owner) among them, if few."""

    actor: str
    items: int
    size_bytes: int
    created: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerQuery:
    """Read what an authorised envelope asks for, and answer it."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class CheckToken:
    """Whose is the token of this digest?"""

    digest: str


@dataclass(frozen=True, slots=True)
class TokenChecked:
    """The answer to CheckToken: who it is, or None; `failed` when the store could not say."""

    digest: str
    who: Identity | None
    failed: str = ""


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """Which of these tasks are finished? Asked for each new wait, and again in rounds. With `owner`,
    tasks of others do not exist."""

    task_ids: tuple[str, ...]
    round: int = 0
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class FinishedChecked:
    """The answer to CheckFinished: those that are finished or do not exist."""

    task_ids: tuple[str, ...]
    round: int


@dataclass(frozen=True, slots=True)
class ServiceChecked:
    """How a native service of this node does."""

    service: str
    running: bool
    restarts: int


@dataclass(frozen=True, slots=True)
class ReplicaSetChecked:
    """How the replica set stands: the state of each registered judicator's member, whose votes count,
    whether there is a primary at all, by how many seconds each that lives is behind the newest, and, if there
    has been no primary for longer than an election takes, why."""

    states: Mapping[str, str]
    voters: frozenset[str]
    writable: bool
    lags_s: Mapping[str, float] = field(default_factory=dict)
    lost: str = ""


@dataclass(frozen=True, slots=True)
class OutputGrew:
    """This node stored more of these streams."""

    keys: tuple[StreamKey, ...]
