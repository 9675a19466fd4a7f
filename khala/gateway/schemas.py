"""The JSON that a task is made of, decoded strictly (api.md, section 1, "Task fields").

Owns the shape only: types and field names. Bounds are `khala.core.validation`'s.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from khala.core.checking import DEFAULT_TOLERANCE
from khala.core.dependencies import Condition
from khala.core.task import RETRY_ON, ExitReason
from khala.errors import Refusal

AnyBody = TypeVar("AnyBody")


class Body(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, omit_defaults=True):
    """A JSON object that takes no field but its own."""


class LimitsBody(Body, frozen=True):
    """`limits`, of a task or of one phase. Seconds and bytes; null means the executor's default, and 0
    that there is none but the executor's ceiling."""

    wall_time: float | None = None
    cpu_time: float | None = None
    memory: int | None = None
    processes: int | None = None
    open_files: int | None = None
    file_size: int | None = None
    output_size: int | None = None
    disk: int | None = None


class CompileBody(Body, frozen=True):
    """`compile`: a shell string or a list of arguments."""

    command: str | list[str]
    env: dict[str, str] = {}
    limits: LimitsBody = LimitsBody()


class ExecuteBody(Body, frozen=True):
    """`execute`: `args` are appended to a command that is a list."""

    command: str | list[str]
    args: list[str] = []
    env: dict[str, str] = {}
    stdin: str = ""
    stdin_file: str = ""
    limits: LimitsBody = LimitsBody()


class InputBody(Body, frozen=True):
    """One of `inputs`. `mode` is a number, or text in octal such as "755"."""

    path: str
    content: str | None = None
    file_id: str = ""
    encoding: Literal["utf-8", "base64"] = "utf-8"
    mode: int | str = 0o644


class ArchiveBody(Body, frozen=True):
    """One of `archives`: a stored zip, tar or tar.gz file, extracted under `path`."""

    file_id: str
    path: str = ""


class OutputBody(Body, frozen=True):
    """One of `outputs`: a glob of files to keep; without any, or with one refused, a `required` one fails
    the task."""

    glob: str
    required: bool = False


class ResourcesBody(Body, frozen=True):
    """`resources`: cpus, and memory in bytes."""

    cpus: float = 1.0
    memory: int = 0


class RetryBody(Body, frozen=True):
    """`retry`: after an attempt that ended for one of the reasons `on`, another one, up to `max_attempts`;
    `backoff` seconds later, and twice as late each time, but for `executor_lost`."""

    max_attempts: int = 5
    on: tuple[ExitReason, ...] = RETRY_ON
    backoff: float = 0.0


class DependencyBody(Body, frozen=True):
    """One of `depends_on`: a task that must end so before this one starts."""

    task_id: str
    condition: Condition = Condition.SUCCEEDED


class TaskBody(Body, frozen=True):
    """A task to create."""

    name: str = ""
    user: int = 0
    labels: dict[str, str] = {}
    priority: int = 0
    inputs: list[InputBody] = []
    archives: list[ArchiveBody] = []
    compile: CompileBody | None = None
    execute: ExecuteBody | None = None
    limits: LimitsBody = LimitsBody()
    resources: ResourcesBody = ResourcesBody()
    constraints: dict[str, str] = {}
    expected_output: str | None = None
    outputs: list[OutputBody] | None = None
    checker: Literal["exact", "trim", "tokens", "float"] | None = None
    checker_tolerance: float = DEFAULT_TOLERANCE
    retry: RetryBody = RetryBody()
    on_disconnect: Literal["continue", "stop"] = "continue"
    network: bool = False
    isolation: Literal["none", "basic", "strict"] = "basic"
    depends_on: list[DependencyBody] = []
    queue_timeout: float | None = None
    ttl_after_finished: float | None = None


class BatchBody(Body, frozen=True):
    """Tasks to create; each is decoded on its own, so that one bad task does not spoil the rest."""

    tasks: list[Raw]


class AmendBody(Body, frozen=True):
    """What of a task is to change; `labels` replaces all of them."""

    labels: dict[str, str] | None = None
    priority: int | None = None


class QuotaBody(Body, frozen=True):
    """A user's quota; null means that there is no bound."""

    queued: int | None = None
    running: int | None = None
    stored_bytes: int | None = None


class NewUserBody(Body, frozen=True):
    """A user to create."""

    name: str
    role: Literal["admin", "user", "viewer"]
    quota: QuotaBody = QuotaBody()


class UserBody(Body, frozen=True):
    """What of a user is to change."""

    role: Literal["admin", "user", "viewer"] | None = None
    quota: QuotaBody | None = None


class TokenBody(Body, frozen=True):
    """A token to create, for the caller unless an administrator names a `user`; `expires_in` is seconds."""

    name: str
    user: str = ""
    expires_in: Annotated[float, Meta(gt=0, le=1e10)] | None = None


class LoginBody(Body, frozen=True):
    """The token to begin a session with."""

    token: str


def decode(body: bytes | Raw, shape: type[AnyBody]) -> AnyBody:
    """`body` as a `shape`; raises Refusal `malformed` (no JSON) or `invalid`, naming the field."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"the body is not valid JSON: {error}", code="malformed") from None
    except RecursionError:
        raise Refusal("the body is nested too deeply", code="malformed") from None


def request_digest(task: TaskBody) -> str:
    """SHA-256 of a task's canonical JSON: equal for equal requests, however they were written."""
    return hashlib.sha256(msgspec.json.encode(task, order="sorted")).hexdigest()


_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_WORDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "array": "list",
    "bool": "true or false",
    "null": "null",
    "object": "object",
}


def _explained(message: str) -> Refusal:
    """msgspec's message, such as "Expected `int`, got `str` - at `$.priority`", as a refusal."""
    problem, _, place = message.rpartition(" - at `$")
    if not problem:
        problem, place = message, ""
    field = place.removesuffix("`").removeprefix(".")
    unknown = _UNKNOWN.fullmatch(problem)
    if unknown:
        field = f"{field}.{unknown[1]}" if field else unknown[1]
        return Refusal(f"{field[:200]}: there is no such field", code="unknown_field", field=field[:200])
    plain = re.sub(r"\b(str|int|float|array|bool)\b", lambda word: _WORDS[word[0]], problem.replace("`", ""))
    detail = plain[:1].lower() + plain[1:]
    return Refusal(f"{field or 'body'}: {detail}", field=field)
