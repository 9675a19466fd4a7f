"""How values become tasks, and what a job may not be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from khala.core.jobs import Job, NewJob
from khala.core.sweeps import (
    MAX_JOB_TASKS,
    Rows,
    check_new_job,
    check_rows,
    decode_rows,
    encode_rows,
    make_task,
    place_of,
    task_id_of,
)
from khala.core.task import Command, InputFile, TaskSpec
from khala.errors import Refusal

JOB_ID = "0123456789abcdef" * 2
FILE = "0" * 64


def new(names: tuple[str, ...] = ("x",), total: int = 2, **spec: Any) -> NewJob:
    spec.setdefault("execute", Command(argv=("echo", "{x}")))
    return NewJob(id=JOB_ID[:24], template=TaskSpec(**spec), rows_file=FILE, total=total, names=names)


def job(template: TaskSpec, names: tuple[str, ...], **fields: Any) -> Job:
    return Job(id=JOB_ID[:24], template=template, rows_file=FILE, total=2, names=names, **fields)


def test_values_go_into_every_text_and_nowhere_else() -> None:
    command = Command(
        shell="run {x} {y} ${x} {z} { x } {index} {{x}}",
        env={"A_{x}": "{y}"},
        stdin=b"in {x}\n",
    )
    template = TaskSpec(
        name="n-{x}",
        labels={"{x}": "{y}"},
        inputs=(InputFile(path="{x}", content=b"{y}"), InputFile(path="b", content=b"\xff{x}")),
        compile=Command(argv=("cc", "-D{x}")),
        execute=command,
        expected_output=b"{x}{y}",
        constraints={"{x}": "{x}"},
    )
    task = make_task(job(template, ("x", "y")), Rows(values=[["a", "b"], ["1", "{x}"]]), 1)
    spec = task.spec
    assert spec.execute is not None and spec.compile is not None
    assert spec.execute.shell == "run 1 {x} $1 {z} { x } 1 {1}"
    assert (dict(spec.execute.env), spec.execute.stdin) == ({"A_{x}": "{x}"}, b"in 1\n")
    assert (spec.name, dict(spec.labels), spec.compile.argv) == ("n-1", {"{x}": "{x}"}, ("cc", "-D1"))
    assert [each.content for each in spec.inputs] == [b"{x}", b"\xff{x}"]
    assert (spec.inputs[0].path, dict(spec.constraints)) == ("{x}", {"{x}": "{x}"})
    assert spec.expected_output == b"1{x}"


def test_the_same_task_is_made_each_time_and_ids_are_neighbours() -> None:
    made = job(TaskSpec(execute=Command(shell="{index}")), (), owner="ann", created_at=5.0, max_parallel=3)
    rows = Rows(values=[[], []])
    assert make_task(made, rows, 1) == make_task(replace(made, created=1), rows, 1)
    task = make_task(made, rows, 1)
    assert (task.owner, task.created_at, task.job_id, task.job_index) == ("ann", 5.0, made.id, 1)
    assert (task.max_parallel, task.control.queued_at, task.control.rev) == (3, 5.0, 1)
    ids = [task_id_of(made.id, place) for place in (0, 1, 9, 10, 255, MAX_JOB_TASKS)]
    assert ids == sorted(ids) and {len(each) for each in ids} == {24}
    assert [place_of(each) for each in ids] == [0, 1, 9, 10, 255, MAX_JOB_TASKS]


def test_a_cancelled_jobs_task_is_born_to_end() -> None:
    made = job(TaskSpec(execute=Command(shell="true")), (), cancel_requested=True)
    assert make_task(made, Rows(values=[[]]), 0).control.cancel_requested


def test_a_retry_keeps_index_and_remembers_the_task() -> None:
    rows = Rows(values=[["a"], ["b"], ["c"]]).only([0, 2]).only([1])
    rows = decode_rows(encode_rows(rows))
    made = job(TaskSpec(execute=Command(shell="{x}{index}")), ("x",), retried_from="f" * 24)
    task = make_task(made, rows, 0)
    assert task.spec.execute is not None and task.spec.execute.shell == "c2"
    assert task.retried_from == task_id_of("f" * 24, 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"values":[[1]],"indexes":[],"places":[]}', b'{"values":[["a"]],"indexes":[1,2],'
     b'"places":[]}', b'{"values":[["a"]],"indexes":["x"],"places":["x"]}', b"\xff", b"[" * 100_000],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_file_of_values_is_refused(content: bytes) -> None:
    with pytest.raises(Refusal, match="rows_file"):
        decode_rows(content)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"id": "x"}, "id"),
        ({"total": 0}, "array"),
        ({"total": MAX_JOB_TASKS + 1}, "array"),
        ({"name": "x" * 257}, "name"),
        ({"names": ("x", "x")}, "array"),
        ({"names": ("index",)}, "array"),
        ({"names": ("a b",)}, "array"),
        ({"names": tuple(f"n{n}" for n in range(33))}, "array"),
        ({"max_parallel": -1}, "max_parallel"),
        ({"max_failures": -1}, "max_failures"),
        ({"request_digest": "x" * 257}, "request_digest"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_what_a_job_may_not_be(wrong: dict[str, Any], field: str) -> None:
    check_new_job(new())
    with pytest.raises(Refusal) as caught:
        check_new_job(replace(new(), **wrong))
    assert caught.value.field == field


def test_every_task_is_known_to_be_good_before_one_is_made() -> None:
    check_rows(new(), Rows(values=[["a"], ["b"]]))
    for values, problem in (
        ([["a"]], "1 rows, not 2"),
        ([["a"], []], "row 1 has 0"),
        ([["a"], ["\0"]], "row 1"),
        ([["a"], ["\ud800"]], "row 1"),
        ([["a"], ["x" * 5000]], "row 1"),
    ):
        with pytest.raises(Refusal, match=problem):
            check_rows(new(), Rows(values=values))
    with pytest.raises(Refusal, match="name"):
        check_rows(new(name="{x}" * 100), Rows(values=[["a"], ["long"]]))
    with pytest.raises(Refusal, match="the first argument"):
        check_rows(new(execute=Command(argv=("{x}",))), Rows(values=[["a"], [""]]))
    large = new(total=2000, execute=Command(shell="true", stdin=b"x" * 600_000))
    with pytest.raises(Refusal, match="2000 times"):
        check_rows(large, Rows(values=[["a"]] * 2000))
