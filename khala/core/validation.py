"""Which task specifications are accepted: one pure function, asked by gateways and by judicators.

Owns the bounds; touches nothing else. Every refusal names the field as the HTTP API spells it
(api.md, section 1), such as `execute.limits.wall_time`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from khala.core.globs import parse_glob
from khala.core.task import LIMIT_FIELDS, Command, ExitReason, InputFile, Limits, OutputGlob, TaskSpec
from khala.errors import Refusal

MAX_NAME_CHARS = 256
MAX_LABELS = 64
MAX_LABEL_CHARS = 256
MAX_PRIORITY = 100
MAX_USER = 2**31 - 1
MAX_CPUS = 1024.0
MAX_MEMORY_BYTES = 2**60
MAX_ATTEMPTS = 100
MAX_WALL_TIME_S = 2**31 - 1
# Linux refuses to execute with one argument or variable above 128 KiB, its NUL included
# (MAX_ARG_STRLEN, execve(2)).
MAX_COMMAND_BYTES = 128 * 1024
MAX_ENV_BYTES = 1024 * 1024
MAX_ENV_ENTRIES = 1000
MAX_INPUTS = 1000
MAX_ARCHIVES = 100
MAX_OUTPUTS = 100
MAX_PATH_BYTES = 1024
MAX_PATH_PART_BYTES = 255
MAX_INLINE_BYTES = 1024 * 1024
MAX_TOLERANCE = 1e9
MAX_WAIT_S = 366 * 86400.0
MAX_DEPENDENCIES = 100
NEVER_RETRIED = frozenset(
    {ExitReason.CRASH_LIMIT, ExitReason.DEPENDENCY_FAILED, ExitReason.QUEUE_TIMEOUT, ExitReason.CANCELLED}
)

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_FILE_ID = re.compile(r"[0-9a-f]{64}")
_TASK_ID = re.compile(r"[0-9a-f]{24}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def validate_spec(spec: TaskSpec) -> None:
    """Raise Refusal, naming the field, unless `spec` may be stored as it is."""
    validate_shape(spec)
    if inline_bytes(spec) > MAX_INLINE_BYTES:
        raise Refusal(
            f"inline content: {inline_bytes(spec)} bytes in one task, at most {MAX_INLINE_BYTES} are "
            "kept inline; upload the larger parts as files and name them by file_id",
            code="too_large",
            field="inputs",
        )


def check_amendment(labels: Mapping[str, str] | None, priority: int | None) -> None:
    """Raise Refusal unless these may be given to a task that exists."""
    if labels is not None:
        _pairs(labels, "labels")
    if priority is not None:
        _integer(priority, "priority", -MAX_PRIORITY, MAX_PRIORITY)


def validate_shape(spec: TaskSpec) -> None:
    """All of `validate_spec` but the bound on inline content, which a gateway can still move out."""
    _text(spec.name, "name", MAX_NAME_CHARS)
    _pairs(spec.labels, "labels")
    _pairs(spec.constraints, "constraints")
    _integer(spec.priority, "priority", -MAX_PRIORITY, MAX_PRIORITY)
    _integer(spec.user, "user", 0, MAX_USER)
    _integer(spec.max_attempts, "retry.max_attempts", 1, MAX_ATTEMPTS)
    _integer(spec.resources.memory_bytes, "resources.memory", 0, MAX_MEMORY_BYTES)
    if not 0 < spec.resources.cpus <= MAX_CPUS:
        raise _refused("resources.cpus", f"expected a number above 0 and at most {MAX_CPUS:g}")
    if spec.compile is None and spec.execute is None:
        raise _refused("execute", "a task needs execute or compile, or both")
    if spec.compile is not None:
        _command(spec.compile, "compile")
    if spec.execute is not None:
        _command(spec.execute, "execute")
    _policies(spec)
    _inputs(spec.inputs)
    _archives(spec)
    _outputs(spec.outputs)
    if not 0 <= spec.checker_tolerance <= MAX_TOLERANCE:
        raise _refused("checker_tolerance", f"expected a number from 0 to {MAX_TOLERANCE:g}")


def _policies(spec: TaskSpec) -> None:
    """How it is tried again, for how long it may wait, and for what."""
    for reason in spec.retry_on:
        if reason in NEVER_RETRIED:
            raise _refused("retry.on", f"{reason} is not the end of an attempt, so it cannot be tried again")
    waits = (
        (spec.backoff_s, "retry.backoff"),
        (spec.queue_timeout_s, "queue_timeout"),
        (spec.ttl_after_finished_s, "ttl_after_finished"),
    )
    for value, field in waits:
        if value is not None and not (math.isfinite(value) and 0 <= value <= MAX_WAIT_S):
            raise _refused(field, f"expected seconds from 0 to {MAX_WAIT_S:g}")
    if len(spec.depends_on) > MAX_DEPENDENCIES:
        raise _refused("depends_on", f"at most {MAX_DEPENDENCIES} entries")
    others = [each.task_id for each in spec.depends_on]
    for index, task_id in enumerate(others):
        if not _TASK_ID.fullmatch(task_id):
            raise _refused(f"depends_on[{index}].task_id", "a task's id is 24 hexadecimal digits")
    if len(set(others)) != len(others):
        raise _refused("depends_on", "a task is named twice")


def inline_bytes(spec: TaskSpec) -> int:
    """The bytes of content that travel and are stored inside the task itself."""
    commands = [command for command in (spec.compile, spec.execute) if command is not None]
    return (
        sum(len(entry.content) for entry in spec.inputs)
        + sum(len(command.stdin) for command in commands)
        + len(spec.expected_output or b"")
    )


def check_path(path: str, field: str) -> None:
    """Raise Refusal unless `path` stays inside the workspace that it is joined to.

    Refuses absolute and empty paths, empty, `.` and `..` parts, backslashes (separators to some
    tools), control characters, and names longer than a file system takes.
    """
    if not path or path.startswith("/"):
        raise _refused(field, "expected a relative path")
    if "\\" in path or _CONTROL.search(path):
        raise _refused(field, "a path must not contain backslashes or control characters")
    if len(_encoded(path, field)) > MAX_PATH_BYTES:
        raise _refused(field, f"a path has at most {MAX_PATH_BYTES} bytes")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise _refused(field, "a path must not contain empty, `.` or `..` parts")
        if len(part.encode()) > MAX_PATH_PART_BYTES:
            raise _refused(field, f"a part of a path has at most {MAX_PATH_PART_BYTES} bytes")


def _inputs(inputs: Sequence[InputFile]) -> None:
    if len(inputs) > MAX_INPUTS:
        raise _refused("inputs", f"at most {MAX_INPUTS} entries; put more into an archive")
    files: set[str] = set()
    folders: set[str] = set()
    for index, entry in enumerate(inputs):
        where = f"inputs[{index}]"
        check_path(entry.path, f"{where}.path")
        _integer(entry.mode, f"{where}.mode", 0, 0o777)
        if entry.file_id:
            _file_id(entry.file_id, f"{where}.file_id")
            if entry.content:
                raise _refused(f"{where}.file_id", "give either content or file_id")
        parts = entry.path.split("/")
        parents = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if entry.path in files or entry.path in folders or parents & files:
            raise _refused(f"{where}.path", f"{entry.path!r} collides with another input")
        files.add(entry.path)
        folders |= parents


def _archives(spec: TaskSpec) -> None:
    if len(spec.archives) > MAX_ARCHIVES:
        raise _refused("archives", f"at most {MAX_ARCHIVES} entries")
    for index, archive in enumerate(spec.archives):
        _file_id(archive.file_id, f"archives[{index}].file_id")
        if archive.path:
            check_path(archive.path, f"archives[{index}].path")


def _outputs(outputs: Sequence[OutputGlob]) -> None:
    if len(outputs) > MAX_OUTPUTS:
        raise _refused("outputs", f"at most {MAX_OUTPUTS} globs")
    for index, output in enumerate(outputs):
        field = f"outputs[{index}].glob"
        try:
            parse_glob(output.glob)
        except Refusal as why:
            raise _refused(field, why.detail) from None


def _command(command: Command, where: str) -> None:
    if bool(command.shell) == bool(command.argv):
        raise _refused(f"{where}.command", "expected a shell string or a list of arguments, not empty")
    if command.argv and not command.argv[0]:
        raise _refused(f"{where}.command", "the first argument names the program; it must not be empty")
    size = 0
    for argument in command.argv or (command.shell,):
        if "\0" in argument:
            raise _refused(f"{where}.command", "a command must not contain NUL")
        size += len(_encoded(argument, f"{where}.command")) + 1
    if size > MAX_COMMAND_BYTES:
        raise Refusal(
            f"{where}.command: at most {MAX_COMMAND_BYTES} bytes; put more into an input file",
            code="too_large",
            field=f"{where}.command",
        )
    _environment(command.env, f"{where}.env")
    _limits(command.limits, f"{where}.limits")
    if command.stdin_file:
        _file_id(command.stdin_file, f"{where}.stdin_file")
        if command.stdin:
            raise _refused(f"{where}.stdin_file", "give either stdin or stdin_file")


def _environment(env: Mapping[str, str], field: str) -> None:
    if len(env) > MAX_ENV_ENTRIES:
        raise _refused(field, f"at most {MAX_ENV_ENTRIES} variables")
    total = 0
    for name, value in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise _refused(field, f"{name[:64]!r} is not the name of a variable (letters, digits, _)")
        if "\0" in value:
            raise _refused(f"{field}.{name}", "a value must not contain NUL")
        size = len(name) + len("=") + len(_encoded(value, f"{field}.{name}")) + 1
        if size > MAX_COMMAND_BYTES:
            raise _refused(f"{field}.{name}", f"at most {MAX_COMMAND_BYTES} bytes")
        total += size
    if total > MAX_ENV_BYTES:
        raise _refused(field, f"at most {MAX_ENV_BYTES} bytes in all")


def _limits(limits: Limits, field: str) -> None:
    for name, attribute in LIMIT_FIELDS.items():
        value = getattr(limits, attribute)
        most = MAX_WALL_TIME_S if name.endswith("_time") else MAX_MEMORY_BYTES
        if value is not None and not (math.isfinite(value) and 0 <= value <= most):
            raise _refused(f"{field}.{name}", f"expected a number ≥ 0 and at most {most}")


def _pairs(pairs: Mapping[str, str], field: str) -> None:
    if len(pairs) > MAX_LABELS:
        raise _refused(field, f"at most {MAX_LABELS} entries")
    for key, value in pairs.items():
        if not key:
            raise _refused(field, "a key must not be empty")
        _text(key, field, MAX_LABEL_CHARS)
        _text(value, f"{field}.{key}", MAX_LABEL_CHARS)


def _text(text: str, field: str, max_chars: int) -> None:
    if len(text) > max_chars:
        raise _refused(field[:80], f"at most {max_chars} characters")
    if "\0" in text:
        raise _refused(field.replace("\0", ""), "text must not contain NUL")
    _encoded(text, field)


def _integer(number: int, field: str, low: int, high: int) -> None:
    if not low <= number <= high:
        raise _refused(field, f"expected a whole number from {low} to {high}")


def _file_id(file_id: str, field: str) -> None:
    if not _FILE_ID.fullmatch(file_id):
        raise _refused(field, "expected the 64 lowercase hexadecimal digits of a SHA-256")


def _encoded(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _refused(field.encode(errors="replace").decode(), "text must be valid Unicode") from None


def _refused(field: str, problem: str) -> Refusal:
    return Refusal(f"{field}: {problem}", field=field)
