"""Tasks and cluster members as the JSON of `/api/v1` (api.md, section 1, "Status fields").

Pure. Times are RFC 3339 in UTC, durations seconds, sizes bytes. Bytes become text; where they are
not valid UTF-8 the text is a lossy reading and a base64 twin has the truth.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Literal

from khala.core.checking import Difference
from khala.core.commands import ExecutorView, JudicatorView
from khala.core.people import Me, TokenView, UserView
from khala.core.task import (
    LIMIT_FIELDS,
    TERMINAL,
    Command,
    Limits,
    OutputFile,
    PhaseResult,
    StreamCapture,
    Task,
    TaskEvent,
    TaskSpec,
    Verdict,
)

Json = dict[str, Any]
_QUOTA = ("queued", "running", "stored_bytes")
View = Literal["minimal", "basic", "full"]


def time_view(unix_s: float | None) -> str | None:
    """Unix seconds as RFC 3339, with microseconds; None stays None."""
    if unix_s is None:
        return None
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def task_view(task: Task, view: View) -> Json:
    """A task. `minimal` is its standing; `basic` adds what was asked and how it went; `full` adds
    contents, output and the story."""
    control, spec = task.control, task.spec
    shown: Json = {
        "id": task.id,
        "name": spec.name,
        "user": spec.user,
        "labels": dict(spec.labels),
        "priority": spec.priority,
        "owner": task.owner,
        "state": control.state,
        "phase": control.phase,
        "reason": control.reason,
        "cancel_requested": control.cancel_requested,
        "created_at": time_view(task.created_at),
        "queued_at": time_view(control.queued_at or task.created_at),
        "started_at": time_view(control.started_at),
        "finished_at": time_view(control.finished_at),
        "executor": control.executor or None,
        "attempt": control.attempt,
        "exit_reason": control.exit_reason,
        "verdict": _verdict(task),
        "retried_from": task.retried_from or None,
        "job_id": task.job_id or None,
        "job_index": task.job_index if task.job_id else None,
    }
    if view == "minimal":
        return shown
    shown |= spec_view(spec, contents=view == "full")
    shown["result"] = (
        None
        if task.result is None
        else {
            "compile": _phase(task.result.compile, view),
            "execute": _phase(task.result.execute, view),
        }
    )
    shown["outputs"] = [output_file_view(file) for file in (task.result.outputs if task.result else ())]
    shown["difference"] = _difference(task.result.difference if task.result else None)
    shown["enforced"] = [] if task.result is None else list(task.result.enforced)
    if view == "full":
        shown["events"] = [event_view(event) for event in task.events]
    return shown


def event_view(event: TaskEvent) -> Json:
    """One line of a task's story."""
    return {
        "rev": event.rev,
        "kind": event.kind,
        "at": time_view(event.at),
        "from": event.from_state,
        "to": event.to_state,
        "attempt": event.attempt,
        "epoch": {"generation": event.epoch.generation, "number": event.epoch.number},
        "executor": event.executor or None,
        "detail": event.detail,
    }


def spec_view(spec: TaskSpec, *, contents: bool) -> Json:
    """What was asked, in the fields in which it is asked; `contents` with inline bytes."""
    return {
        "inputs": [
            {
                "path": entry.path,
                "mode": f"{entry.mode:o}",
                **({"file_id": entry.file_id} if entry.file_id else {}),
                **(_content(entry.content) if contents and not entry.file_id else {}),
            }
            for entry in spec.inputs
        ],
        "archives": [{"file_id": entry.file_id, "path": entry.path} for entry in spec.archives],
        "compile": None if spec.compile is None else _command(spec.compile),
        "execute": None if spec.execute is None else _command(spec.execute) | _stdin(spec.execute, contents),
        "resources": {"cpus": spec.resources.cpus, "memory": spec.resources.memory_bytes},
        "constraints": dict(spec.constraints),
        "retry": {"max_attempts": spec.max_attempts, "on": list(spec.retry_on), "backoff": spec.backoff_s},
        "queue_timeout": spec.queue_timeout_s,
        "ttl_after_finished": spec.ttl_after_finished_s,
        "depends_on": [{"task_id": each.task_id, "condition": each.condition} for each in spec.depends_on],
        "on_disconnect": spec.on_disconnect,
        "isolation": spec.isolation,
        "network": spec.network,
        "output_globs": [{"glob": each.glob, "required": each.needed} for each in spec.outputs],
        "checker": spec.checker,
        "checker_tolerance": spec.checker_tolerance,
        **({"expected_output": _optional_text(spec.expected_output)} if contents else {}),
    }


def executor_view(executor: ExecutorView) -> Json:
    """One executor."""
    return {
        "id": executor.executor,
        "incarnation": executor.incarnation,
        "hostname": executor.hostname,
        "reported_at": time_view(executor.reported_at),
        "slots": executor.slots,
        "resources": {"cpus": executor.cpus, "memory": executor.memory_bytes},
        "labels": dict(executor.labels),
        "load": executor.load,
        "draining": executor.draining,
        "assigned": executor.assigned,
        "running": list(executor.running),
        "isolation": list(executor.isolation),
        "layers": dict(executor.layers),
    }


def judicator_view(judicator: JudicatorView) -> Json:
    """One judicator."""
    return {
        "name": judicator.name,
        "address": judicator.address,
        "leader": judicator.leader,
        "restarts": dict(judicator.restarts),
        "replica_state": judicator.replica_state or None,
        "voting": judicator.voting,
        "replica_lag": judicator.replica_lag_s,
        "live": judicator.live,
        "leaving": judicator.leaving,
    }


def output_file_view(file: OutputFile) -> Json:
    """A file that was kept."""
    return {"path": file.path, "size": file.size, "sha256": file.sha256, "mode": f"{file.mode:o}"}


def _verdict(task: Task) -> Verdict | None:
    if task.control.state not in TERMINAL:
        return None
    return Verdict.NOT_JUDGED if task.result is None else task.result.verdict


def _difference(difference: Difference | None) -> Json | None:
    if difference is None:
        return None
    return {
        "line": difference.line,
        "column": difference.column,
        "expected": difference.expected,
        "actual": difference.actual,
    }


def user_view(user: UserView) -> Json:
    """A user."""
    return {
        "name": user.name,
        "role": user.role,
        "created_at": time_view(user.created_at or None),
        **quota_view(user),
    }


def quota_view(user: UserView) -> Json:
    """What a user may have and has."""
    usage = user.usage
    return {
        "quota": {name: getattr(user.quota, name) for name in _QUOTA},
        "usage": None if usage is None else {name: getattr(usage, name) for name in _QUOTA},
    }


def token_view(token: TokenView) -> Json:
    """A token, without its text."""
    return {
        "id": token.id,
        "name": token.name,
        "user": token.user,
        "created_at": time_view(token.created_at or None),
        "expires_at": time_view(token.expires_at),
        "last_used_at": time_view(token.last_used_at),
        "session": token.session,
    }


def me_view(me: Me) -> Json:
    """The caller."""
    return {**user_view(me.user), "token": None if me.token is None else token_view(me.token)}


def _command(command: Command) -> Json:
    return {
        "command": command.shell if command.shell else list(command.argv),
        "env": dict(command.env),
        "limits": _limits(command.limits),
    }


def _stdin(command: Command, contents: bool) -> Json:
    if command.stdin_file:
        return {"stdin_file": command.stdin_file}
    return {"stdin": _text(command.stdin)} if contents else {}


def _limits(limits: Limits) -> Json:
    shown = {name: getattr(limits, field) for name, field in LIMIT_FIELDS.items()}
    return {name: value for name, value in shown.items() if value is not None}


def _phase(phase: PhaseResult | None, view: View) -> Json | None:
    if phase is None:
        return None
    return {
        "exit_reason": phase.exit_reason,
        "exit_code": phase.exit_code,
        "signal": phase.signal,
        "started_at": time_view(phase.started_at),
        "wall_time": phase.wall_time_s,
        "cpu_user": phase.cpu_user_s,
        "cpu_system": phase.cpu_system_s,
        "max_rss": phase.max_rss_bytes,
        "max_memory": phase.max_memory_bytes,
        "max_processes": phase.max_processes,
        "disk": phase.disk_bytes,
        "stdout": _stream(phase.stdout, view),
        "stderr": _stream(phase.stderr, view),
    }


def _stream(stream: StreamCapture, view: View) -> Json:
    shown: Json = {
        "size": stream.size,
        "truncated": stream.truncated,
        "stored": stream.stored_bytes,
        "sha256": stream.sha256 or None,
    }
    if view == "full":
        for name, part in (("head", stream.head), ("tail", stream.tail)):
            shown[name] = _text(part)
            if not _is_text(part):
                shown[f"{name}_base64"] = base64.b64encode(part).decode()
    return shown


def _content(content: bytes) -> Json:
    if _is_text(content):
        return {"content": content.decode(), "encoding": "utf-8"}
    return {"content": base64.b64encode(content).decode(), "encoding": "base64"}


def _optional_text(content: bytes | None) -> str | None:
    return None if content is None else _text(content)


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
