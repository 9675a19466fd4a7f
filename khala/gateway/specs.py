"""From the JSON of a task to the specification that judicators store."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from khala.core.checking import Checker
from khala.core.dependencies import Dependency
from khala.core.task import (
    LIMIT_FIELDS,
    Archive,
    Command,
    InputFile,
    Isolation,
    Limits,
    OnDisconnect,
    OutputGlob,
    Resources,
    TaskSpec,
)
from khala.core.validation import validate_shape
from khala.errors import Refusal
from khala.gateway.schemas import (
    CompileBody,
    ExecuteBody,
    InputBody,
    LimitsBody,
    TaskBody,
)


def spec_of(body: TaskBody) -> TaskSpec:
    """The specification that `body` asks for; raises Refusal, naming the field, if it may not be.

    Its content may still be larger than a task may carry: `khala.gateway.uploads` moves that out.
    """
    spec = TaskSpec(
        name=body.name,
        user=body.user,
        labels=body.labels,
        priority=body.priority,
        inputs=tuple(_input(entry, f"inputs[{index}]") for index, entry in enumerate(body.inputs)),
        archives=tuple(Archive(file_id=entry.file_id, path=entry.path) for entry in body.archives),
        compile=None if body.compile is None else _compile(body.compile, body.limits),
        execute=None if body.execute is None else _execute(body.execute, body.limits),
        resources=Resources(cpus=body.resources.cpus, memory_bytes=body.resources.memory),
        constraints=body.constraints,
        expected_output=None if body.expected_output is None else body.expected_output.encode(),
        max_attempts=body.retry.max_attempts,
        retry_on=tuple(dict.fromkeys(body.retry.on)),
        backoff_s=body.retry.backoff,
        queue_timeout_s=body.queue_timeout,
        ttl_after_finished_s=body.ttl_after_finished,
        depends_on=tuple(
            Dependency(task_id=each.task_id, condition=each.condition) for each in body.depends_on
        ),
        on_disconnect=OnDisconnect(body.on_disconnect),
        isolation=Isolation(body.isolation),
        network=body.network,
        outputs=tuple(OutputGlob(glob=each.glob, needed=each.required) for each in body.outputs or ()),
        checker=Checker(body.checker or Checker.TRIM),
        checker_tolerance=body.checker_tolerance,
    )
    validate_shape(spec)
    return spec


def _compile(body: CompileBody, defaults: LimitsBody) -> Command:
    shell, argv = _words(body.command, (), "compile")
    return Command(shell=shell, argv=argv, env=body.env, limits=_limits(body.limits, defaults))


def _execute(body: ExecuteBody, defaults: LimitsBody) -> Command:
    shell, argv = _words(body.command, tuple(body.args), "execute")
    return Command(
        shell=shell,
        argv=argv,
        env=body.env,
        stdin=body.stdin.encode(),
        stdin_file=body.stdin_file,
        limits=_limits(body.limits, defaults),
    )


def _words(command: str | list[str], args: tuple[str, ...], where: str) -> tuple[str, tuple[str, ...]]:
    if isinstance(command, list):
        return "", tuple(command) + args
    if args:
        raise Refusal(
            f"{where}.args: only a command that is a list takes args; quote them into the shell text",
            field=f"{where}.args",
        )
    return command, ()


def _limits(own: LimitsBody, defaults: LimitsBody) -> Limits:
    """A phase's own limits, completed by the task's."""

    def either(name: str) -> Any:
        value = getattr(own, name)
        return getattr(defaults, name) if value is None else value

    return Limits(**{field: either(name) for name, field in LIMIT_FIELDS.items()})


def _input(body: InputBody, where: str) -> InputFile:
    if (body.content is None) == (not body.file_id):
        raise Refusal(f"{where}: give content or file_id, one of them", field=where)
    return InputFile(
        path=body.path,
        content=_content(body, f"{where}.content"),
        file_id=body.file_id,
        mode=_mode(body.mode, f"{where}.mode"),
    )


def _content(body: InputBody, field: str) -> bytes:
    text = body.content or ""
    if body.encoding == "utf-8":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(f"{field}: expected base64 (RFC 4648, with padding)", field=field) from None


def _mode(mode: int | str, field: str) -> int:
    if isinstance(mode, int):
        return mode
    if not (1 <= len(mode) <= 4 and set(mode) <= set("01234567")):
        raise Refusal(f'{field}: expected octal digits such as "644"', field=field)
    return int(mode, 8)
