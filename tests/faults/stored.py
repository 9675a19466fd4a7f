"""The stored tasks' own account, as the HTTP API shows it, made into records. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from history.records import OutputSettled, OutputStored, Record, TaskChanged, TaskInserted

from khala.client.views import task_view
from khala.core.output import PHASES, STREAMS, StreamKey
from khala.core.task import Epoch, OnDisconnect, State, StreamCapture, TaskControl, TaskEvent

Task = Mapping[str, Any]


def unix_s(text: str) -> float:
    """RFC 3339 as Unix seconds."""
    return datetime.fromisoformat(text).timestamp()


def told(task: Task) -> list[Record]:
    """A task's insert and changes, in the order of their revs, then what is stored of its outputs."""
    inserted = TaskInserted(
        unix_s(task["created_at"]),
        task["id"],
        task["name"],
        task["retry"]["max_attempts"],
        OnDisconnect(task["on_disconnect"]),
        TaskControl(),
        _wall_time_s(task),
    )
    records: list[Record] = [inserted]
    control, at = inserted.control, inserted.at
    for shown in task["events"]:
        event = event_of(shown)
        if event.kind == "submitted":
            continue
        at = max(at, event.at)
        control = _after(control, event)
        guard = event.epoch if event.epoch != Epoch() else None
        records.append(TaskChanged(at, task["id"], guard, control, event))
    return [*records, *_outputs(task, at)]


def event_of(shown: Mapping[str, Any]) -> TaskEvent:
    """One line of a task's story."""
    return TaskEvent(
        rev=shown["rev"],
        kind=shown["kind"],
        at=unix_s(shown["at"]),
        from_state=State(shown["from"]),
        to_state=State(shown["to"]),
        attempt=shown["attempt"],
        epoch=Epoch(shown["epoch"]["generation"], shown["epoch"]["number"]),
        executor=shown["executor"] or "",
        detail=shown["detail"],
    )


def executors_of(task: Task) -> Mapping[int, str]:
    """Which executor each attempt was given to."""
    return {event["attempt"]: event["executor"] for event in task["events"] if event["kind"] == "assigned"}


def _after(before: TaskControl, event: TaskEvent) -> TaskControl:
    """What the event says of the task; `starts` is the most that it allows."""
    possible = event.kind in ("ended", "lost") and event.from_state == State.ASSIGNED
    starts = before.starts + (event.kind == "started" or possible)
    if event.kind == "returned" and event.from_state == State.RUNNING:
        starts -= 1
    return TaskControl(
        rev=event.rev,
        state=event.to_state,
        attempt=event.attempt,
        starts=starts,
        executor=event.executor,
        cancel_requested=before.cancel_requested or event.kind == "cancel_requested",
    )


def _wall_time_s(task: Task) -> float | None:
    limits = [task[phase]["limits"].get("wall_time") for phase in ("compile", "execute") if task[phase]]
    return sum(limits) if all(limits) else None


def settled(task: Task, fetch: Callable[[str], bytes]) -> Iterator[OutputSettled]:
    """What is stored of those outputs that are longer than what the task itself keeps; `fetch` takes a
    path below the task's and answers the bytes."""
    for phase in PHASES:
        for stream in STREAMS if task["result"] and task["result"][phase] else ():
            shown = task["result"][phase][stream]
            if shown["stored"]:
                yield OutputSettled(
                    unix_s(task["events"][-1]["at"]),
                    StreamKey(task_id=task["id"], attempt=task["attempt"], phase=phase, stream=stream),
                    StreamCapture(
                        size=shown["size"],
                        truncated=shown["truncated"],
                        stored_bytes=shown["stored"],
                        sha256=shown["sha256"] or "",
                    ),
                    fetch(f"logs/{phase}/{stream}"),
                )


def _outputs(task: Task, at: float) -> Iterator[Record]:
    """What the task itself keeps of each output: its head and its tail."""
    view = task_view(task)
    for name, phase in (("compile", view.compile), ("execute", view.execute)):
        for stream in STREAMS if phase else ():
            output = getattr(phase, stream)
            shown = output.head + output.tail
            kept = max(len(shown), task["result"][name][stream]["stored"])
            digest = hashlib.sha256(shown).hexdigest()
            yield OutputStored(
                at,
                task["id"],
                task["attempt"],
                f"{name}.{stream}",
                output.size,
                digest,
                kept,
                output.truncated,
            )
