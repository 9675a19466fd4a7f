"""How a job's values become tasks: placeholders, ids, and what may not be. Pure.

`{name}` in the template stands for a task's value of that name and `{index}` for its number; every other
brace stays as it is. Values go in unchanged, into these texts only: name, values of labels, commands,
values of environments, stdin, the content of inputs, and the expected output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from khala.core.jobs import Job, NewJob
from khala.core.task import Command, State, Task, TaskControl, TaskEvent, TaskSpec
from khala.core.validation import inline_bytes, validate_spec
from khala.errors import Refusal

MAX_JOB_TASKS = 100_000
MAX_NAMES = 32
MAX_VALUE_CHARS = 4096
MAX_ROWS_BYTES = 32 * 1024 * 1024
MAX_INLINE_IN_ALL_BYTES = 1024 * 1024 * 1024
MAX_JOB_NAME_CHARS = 256
INDEX = "index"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PLACE_DIGITS = 6
_PREFIX_DIGITS = 24 - _PLACE_DIGITS

Row = Sequence[str]
Fill = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The values of a job's tasks, a row each, in the order of the job's names.

    In a retry, `places` has where in the retried job each task was, and `indexes` what `{index}` meant
    there; in any other job both are empty, and the index is the place.
    """

    values: Sequence[Row]
    indexes: Sequence[int] = ()
    places: Sequence[int] = ()

    def index(self, place: int) -> int:
        """What `{index}` stands for in this task."""
        return self.indexes[place] if self.indexes else place

    def only(self, places: Sequence[int]) -> Rows:
        """The rows of a job that retries these tasks."""
        return Rows(
            values=[self.values[place] for place in places],
            indexes=[self.index(place) for place in places],
            places=places,
        )


def encode_rows(rows: Rows) -> bytes:
    """The file of a job's values."""
    content = {"values": rows.values, "indexes": rows.indexes, "places": rows.places}
    return json.dumps(content, separators=(",", ":")).encode()


def decode_rows(content: bytes) -> Rows:
    """The values in a file that `encode_rows` made; Refusal if it is no such file."""
    try:
        found = json.loads(content)
        rows = Rows(values=found["values"], indexes=found["indexes"], places=found["places"])
        texts = all(isinstance(value, str) for row in rows.values for value in row)
        numbers = all(isinstance(number, int) for number in (*rows.indexes, *rows.places))
        lengths = {len(rows.indexes), len(rows.places)} - {len(rows.values)}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refusal("rows_file is no file of values", field="rows_file") from None
    if not texts or not numbers or lengths - {0}:
        raise Refusal("rows_file is no file of values", field="rows_file")
    return rows


def task_id_of(job_id: str, place: int) -> str:
    """The id of a job's task: ids of one job are neighbours, in the order of its tasks."""
    return f"{job_id[:_PREFIX_DIGITS]}{place:0{_PLACE_DIGITS}x}"


def place_of(task_id: str) -> int:
    """Which of its job's tasks this is."""
    return int(task_id[_PREFIX_DIGITS:], 16)


def check_new_job(new: NewJob) -> None:
    """Raise Refusal, naming the field, for what is wrong without a look at the values."""
    if not re.fullmatch(r"[0-9a-f]{24}", new.id):
        raise Refusal("a job's id is 24 hexadecimal digits", field="id")
    if not 1 <= new.total <= MAX_JOB_TASKS:
        raise Refusal(f"array: a job has 1 to {MAX_JOB_TASKS} tasks", code="too_large", field="array")
    if len(new.name) > MAX_JOB_NAME_CHARS or "\0" in new.name:
        raise Refusal(f"name: at most {MAX_JOB_NAME_CHARS} characters, without NUL", field="name")
    if len(new.request_digest) > 256:
        raise Refusal("request_digest has at most 256 characters", field="request_digest")
    if not 0 <= new.max_parallel <= MAX_JOB_TASKS:
        raise Refusal("max_parallel: expected 1 or more, or none", field="max_parallel")
    if new.max_failures is not None and not 0 <= new.max_failures <= MAX_JOB_TASKS:
        raise Refusal("max_failures: expected 0 or more, or none", field="max_failures")
    check_names(new.names)


def check_names(names: Sequence[str]) -> None:
    """Raise Refusal unless these may be the names of a job's values."""
    if len(names) > MAX_NAMES:
        raise Refusal(f"array: at most {MAX_NAMES} names", field="array")
    for name in names:
        if not _NAME.fullmatch(name) or name == INDEX:
            raise Refusal(
                f"array: {name[:64]!r} cannot be a name: letters, digits and _, and not `index`",
                field="array",
            )
    if len(set(names)) != len(names):
        raise Refusal("array: a name is given more than once", field="array")


def check_rows(new: NewJob, rows: Rows) -> None:
    """Raise Refusal unless every task of the job may be stored as it will be.

    What values can break are bounds on length and texts that must not be empty; so the template is tried
    with the longest and the shortest value of each name, and no task of them needs to be.
    """
    if len(rows.values) != new.total:
        raise Refusal(f"rows_file has {len(rows.values)} rows, not {new.total}", field="rows_file")
    for place, row in enumerate(rows.values):
        if len(row) != len(new.names):
            raise Refusal(f"array: row {place} has {len(row)} values, not {len(new.names)}", field="array")
        for value in row:
            _check_value(value, place)
    columns = [[row[at] for row in rows.values] for at in range(len(new.names))]
    extremes: list[list[str]] = [
        [max(column, key=lambda value: len(value.encode())) for column in columns],
        [max(column, key=len) for column in columns],
        [min(column, key=len) for column in columns],
    ]
    index = str(max(rows.indexes, default=new.total))
    for values in extremes:
        filled = dict(zip(new.names, values, strict=True)) | {INDEX: index}
        spec = filled_spec(new.template, new.names, filled)
        validate_spec(spec)
        if inline_bytes(spec) * new.total > MAX_INLINE_IN_ALL_BYTES:
            raise Refusal(
                f"task: its inline content would be stored {new.total} times: upload it as a file",
                code="too_large",
                field="task",
            )


def _check_value(value: str, place: int) -> None:
    if len(value) > MAX_VALUE_CHARS or "\0" in value:
        raise Refusal(
            f"array: row {place}: a value has at most {MAX_VALUE_CHARS} characters, without NUL",
            field="array",
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal(f"array: row {place}: values must be valid Unicode", field="array") from None


def make_task(job: Job, rows: Rows, place: int) -> Task:
    """The task at `place`, always the same one; a cancelled job's is asked to end at once."""
    if job.template is None:
        raise ValueError(f"job {job.id} was read without its template")
    values = dict(zip(job.names, rows.values[place], strict=True)) | {INDEX: str(rows.index(place))}
    event = TaskEvent(
        rev=1, kind="submitted", at=job.created_at, from_state=State.PENDING, to_state=State.PENDING
    )
    return Task(
        id=task_id_of(job.id, place),
        spec=filled_spec(job.template, job.names, values),
        owner=job.owner,
        created_at=job.created_at,
        request_digest=job.id,
        retried_from=task_id_of(job.retried_from, rows.places[place]) if rows.places else "",
        control=TaskControl(queued_at=job.created_at, cancel_requested=job.cancel_requested),
        events=(event,),
        job_id=job.id,
        job_index=place,
        max_parallel=job.max_parallel,
    )


def has_placeholder(content: bytes, names: Sequence[str]) -> bool:
    """Would a value go into this content?"""
    return any(b"{%b}" % name.encode() in content for name in (*names, INDEX))


def filled_spec(spec: TaskSpec, names: Sequence[str], values: Mapping[str, str]) -> TaskSpec:
    """`spec` with the values in the places of `names`."""
    placeholder = re.compile(r"\{(" + "|".join(map(re.escape, (*names, INDEX))) + r")\}")

    def fill(text: str) -> str:
        return placeholder.sub(lambda found: values[found[1]], text) if "{" in text else text

    return replace(
        spec,
        name=fill(spec.name),
        labels={key: fill(value) for key, value in spec.labels.items()},
        inputs=tuple(replace(each, content=_fill_bytes(each.content, fill)) for each in spec.inputs),
        compile=spec.compile and _filled(spec.compile, fill),
        execute=spec.execute and _filled(spec.execute, fill),
        expected_output=spec.expected_output and _fill_bytes(spec.expected_output, fill),
    )


def _filled(command: Command, fill: Fill) -> Command:
    return replace(
        command,
        shell=fill(command.shell),
        argv=tuple(map(fill, command.argv)),
        env={name: fill(value) for name, value in command.env.items()},
        stdin=_fill_bytes(command.stdin, fill),
    )


def _fill_bytes(content: bytes, fill: Fill) -> bytes:
    """Bytes as a text; what is none has no placeholders."""
    if b"{" not in content:
        return content
    try:
        return fill(content.decode()).encode()
    except UnicodeDecodeError:
        return content
