"""What the API answers about the cluster and its people, by type; as they come, so that what a newer
gateway adds is there too. Times are RFC 3339 texts, durations seconds, sizes bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class Capacity(TypedDict):
    """What an executor has for tasks."""

    cpus: float
    memory: int


class Executor(TypedDict):
    """An executor as the leader knows it."""

    id: str
    incarnation: str
    hostname: str
    reported_at: str
    slots: int
    resources: Capacity
    labels: Mapping[str, str]
    load: float
    draining: bool
    assigned: int
    running: Sequence[str]
    isolation: Sequence[str]
    layers: Mapping[str, str]


class Judicator(TypedDict):
    """A registered judicator; `replica_state` is its mongod's, which counts in a majority if it is
    `voting`, and is `replica_lag` seconds behind the newest."""

    name: str
    address: str
    leader: bool
    restarts: Mapping[str, int]
    replica_state: str | None
    voting: bool
    replica_lag: float | None
    live: bool
    leaving: bool


class Epoch(TypedDict):
    """Grows with every change of leadership."""

    generation: str
    number: int


class Cluster(TypedDict):
    """`survives` is how many more judicators it can lose."""

    leader: str | None
    epoch: Epoch
    security: str
    ready: bool
    survives: int
    judicators: Sequence[Judicator]


class Stats(TypedDict):
    """Tasks per state. Of many, those that are over are as they were `counted_at`; or, as long as they have
    not been counted, there are `at_least` so many."""

    tasks: Mapping[str, int]
    total: int
    counted_at: str | None
    at_least: bool


class CancelAnswer(TypedDict):
    """What became of a cancel."""

    id: str
    state: str
    cancel_requested: bool


class Drain(TypedDict):
    """An executor, and what it was told."""

    id: str
    draining: bool


class Token(TypedDict):
    """A token; its text is nowhere but in the answer that made it."""

    id: str
    user: str
    name: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class NewToken(Token):
    """A token that was made just now."""

    token: str


class Use(TypedDict):
    """How much was used of a limit; null limits are the executor's own."""

    used: float
    limit: float | None


class Place(TypedDict):
    """How many tasks of its owner come before a task, by a sample if not `exact`; how many of all wait."""

    before: int
    exact: bool
    waiting: int


class Explanation(TypedDict, total=False):
    """Why a task waits, or how it ended."""

    id: str
    state: str
    phase: str | None
    verdict: str | None
    reason: str | None
    earlier_reason: str | None
    exit_reason: str | None
    not_before: str | None
    queue_timeout_at: str | None
    place: Place | None
    dependencies: Sequence[Mapping[str, str]]
    executors: Sequence[Mapping[str, Any]]
    usage: Mapping[str, Mapping[str, Use]]


class Submitted(TypedDict, total=False):
    """One task of a batch: its `id`, or the `error` for which it was refused."""

    id: str
    error: Mapping[str, str]
