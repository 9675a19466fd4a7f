"""The one function that says which tasks are accepted; what HTTP cannot send is tried here."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from khala.core.task import Archive, Command, InputFile, Limits, Resources, TaskSpec
from khala.core.validation import MAX_INLINE_BYTES, inline_bytes, validate_shape, validate_spec
from khala.errors import Refusal

GOOD = TaskSpec(execute=Command(shell="true"))


def refused(spec: TaskSpec) -> Refusal:
    with pytest.raises(Refusal) as told:
        validate_spec(spec)
    return told.value


def test_the_least_and_the_most_are_accepted() -> None:
    validate_spec(GOOD)
    validate_spec(TaskSpec(compile=Command(argv=("true",))))
    validate_spec(
        TaskSpec(
            name="é" * 256,
            user=2**31 - 1,
            labels={f"k{index}": "v" * 256 for index in range(64)},
            priority=100,
            inputs=tuple(InputFile(path=f"d/{index}", content=b"x") for index in range(1000)),
            archives=(Archive(file_id="a" * 64, path="d/e"), Archive(file_id="b" * 64)),
            execute=Command(shell="x" * (128 * 1024 - 1), limits=Limits(wall_time_s=0), stdin=b"\xff"),
            resources=Resources(cpus=1024, memory_bytes=2**50),
            expected_output=b"x" * (MAX_INLINE_BYTES - 1001),
            max_attempts=100,
        )
    )


def test_inline_content_is_bounded_as_a_whole() -> None:
    half = b"x" * (MAX_INLINE_BYTES // 2)
    spec = TaskSpec(
        inputs=(InputFile(path="a", content=half),),
        execute=Command(shell="a", stdin=half),
        expected_output=b"y",
    )
    assert inline_bytes(spec) == MAX_INLINE_BYTES + 1
    validate_shape(spec)
    assert refused(spec).code == "too_large"
    validate_spec(replace(spec, expected_output=None))


@pytest.mark.parametrize("wall_time_s", [math.nan, math.inf, -math.inf, -1e-9, 1e300])
def test_wall_times_that_are_no_times(wall_time_s: float) -> None:
    limits = Limits(wall_time_s=wall_time_s)
    assert refused(TaskSpec(compile=Command(shell="a", limits=limits))).field == "compile.limits.wall_time"


@pytest.mark.parametrize("cpus", [math.nan, math.inf, 0.0, -1.0])
def test_cpus_that_are_none(cpus: float) -> None:
    assert refused(replace(GOOD, resources=Resources(cpus=cpus))).field == "resources.cpus"


def test_a_command_is_one_of_two_things() -> None:
    assert refused(TaskSpec(execute=Command(shell="a", argv=("a",)))).field == "execute.command"
    assert refused(TaskSpec(execute=Command())).field == "execute.command"


@pytest.mark.parametrize(
    "spec",
    [
        replace(GOOD, name="\ud800"),
        replace(GOOD, labels={"\udfff": "x"}),
        replace(GOOD, labels={"x": "\udfff"}),
        replace(GOOD, labels={"a\0b": "x"}),
        replace(GOOD, inputs=(InputFile(path="\ud800"),)),
        TaskSpec(execute=Command(shell="\ud800")),
        TaskSpec(execute=Command(shell="a", env={"A": "\ud800"})),
    ],
)
def test_half_a_character_is_refused_and_can_be_told(spec: TaskSpec) -> None:
    told = refused(spec)
    told.detail.encode()
    told.field.encode()


def test_an_environment_is_bounded_as_a_whole() -> None:
    env = {f"A{index}": "x" * 100_000 for index in range(11)}
    assert refused(TaskSpec(execute=Command(shell="a", env=env))).field == "execute.env"
    env = {f"A{index}": "" for index in range(1001)}
    assert refused(TaskSpec(execute=Command(shell="a", env=env))).field == "execute.env"
