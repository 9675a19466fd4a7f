"""The options that describe a task, and the JSON object that they become. Pure but for reading files."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from khala.errors import ConfigurationError

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])
_MAX_USER = 2**31 - 1

_OPTIONS = (
    click.option("--name", default="", help="A name to find the task by."),
    click.option("--label", "labels", multiple=True, metavar="K=V", help="A label; may be repeated."),
    click.option(
        "--user-id",
        type=click.IntRange(0, _MAX_USER),
        default=0,
        metavar="N",
        help="A number to find it by, as KV2's user id; its owner is whose the token is.  [default: 0]",
    ),
    click.option("--priority", type=click.IntRange(-100, 100), default=0, help="Higher runs sooner."),
    click.option(
        "--env", "variables", multiple=True, metavar="K=V", help="An environment variable; repeatable."
    ),
    click.option(
        "--input-file",
        "input_files",
        multiple=True,
        metavar="[NAME=]FILE",
        help="A file to put into the task's directory; repeatable.",
    ),
    click.option(
        "--output",
        "outputs",
        multiple=True,
        metavar="GLOB",
        help="Files to keep, as 'out/**'; `khala get` saves them; repeatable.",
    ),
    click.option("--compile", "compile_command", default="", metavar="SHELL", help="A command to run first."),
    click.option("--compile-limit", type=float, metavar="SECONDS", help="Wall time for --compile."),
    click.option("--limit", type=float, metavar="SECONDS", help="Wall time for the command."),
    click.option("--cpus", type=float, metavar="N", help="CPUs that it occupies.  [default: 1]"),
    click.option(
        "--memory", metavar="SIZE", help="Memory that it occupies, as 512M (MiB) or 2G (GiB).  [default: 0]"
    ),
    click.option(
        "--constraint",
        "constraints",
        multiple=True,
        metavar="K=V",
        help="Run only where an executor has this label; repeatable, then all of them.",
    ),
    click.option(
        "--isolation",
        type=click.Choice(("none", "basic", "strict")),
        help="How far it is kept apart; strict hides the host's files, processes and network."
        "  [default: basic]",
    ),
    click.option("--network", is_flag=True, help="Leave it the network, under --isolation strict."),
    click.option(
        "--max-attempts", type=int, metavar="N", help="Starts after losses of executors.  [default: 5]"
    ),
    click.option(
        "--expected-output",
        metavar="FILE",
        help="What it should print, in UTF-8; the verdict says whether it did.",
    ),
    click.option(
        "--checker",
        type=click.Choice(("exact", "trim", "tokens", "float")),
        help="How both are compared: trim passes over blanks at the ends of lines and of the output, tokens"
        " over all blanks, float over last digits too.  [default: trim]",
    ),
)


def task_options(command: AnyCommand) -> AnyCommand:
    """Add the options; their values reach the command as keywords for `build_task`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def build_task(
    command: Sequence[str],
    *,
    name: str,
    labels: Sequence[str],
    priority: int,
    variables: Sequence[str],
    input_files: Sequence[str],
    outputs: Sequence[str],
    compile_command: str,
    compile_limit: float | None,
    limit: float | None,
    cpus: float | None,
    memory: str | None,
    max_attempts: int | None,
    user_id: int,
    constraints: Sequence[str],
    isolation: str | None,
    network: bool,
    expected_output: str | None,
    checker: str | None,
) -> dict[str, Any]:
    """The JSON object of `POST /tasks`. An empty `command` leaves only the compile phase."""
    env = _pairs(variables, "--env")
    task: dict[str, Any] = {"name": name, "labels": _pairs(labels, "--label"), "priority": priority}
    task |= {"user": user_id, "constraints": _pairs(constraints, "--constraint")}
    task |= {"isolation": isolation or "", "network": network}
    task["inputs"] = [_input(text) for text in input_files]
    task["outputs"] = [{"glob": glob} for glob in outputs]
    if compile_command:
        task["compile"] = {"command": compile_command, "env": env, "limits": _limits(compile_limit)}
    if command:
        task["execute"] = {"command": list(command), "env": env, "limits": _limits(limit)}
    resources = {"cpus": cpus, "memory": _size(memory)}
    task["resources"] = {key: value for key, value in resources.items() if value is not None}
    if max_attempts is not None:
        task["retry"] = {"max_attempts": max_attempts}
    asked = {key: value for key, value in task.items() if value not in ("", 0, {}, [])}
    return asked | _expectation(expected_output, checker)


def _expectation(file: str | None, checker: str | None) -> dict[str, str]:
    """What it should print, which may be nothing, and how that is compared."""
    if file is None:
        if checker is not None:
            raise ConfigurationError("--checker: give --expected-output too, which it compares with")
        return {}
    try:
        expected = Path(file).read_bytes().decode()
    except OSError as failure:
        raise ConfigurationError(f"--expected-output: cannot read {file}: {failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise ConfigurationError(f"--expected-output: {file} is not text in UTF-8") from failure
    return {"expected_output": expected} | ({"checker": checker} if checker else {})


def _limits(wall_time_s: float | None) -> dict[str, float]:
    return {} if wall_time_s is None else {"wall_time": wall_time_s}


def _pairs(texts: Sequence[str], option: str) -> Mapping[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"{option}: {text!r} is not a pair such as KEY=value")
        pairs[key] = value
    return pairs


def _input(text: str) -> dict[str, object]:
    name, equals, place = text.partition("=")
    path = Path(place if equals else text)
    try:
        content = path.read_bytes()
        executable = path.stat().st_mode & 0o100
    except OSError as failure:
        raise ConfigurationError(f"--input-file: cannot read {path}: {failure.strerror}") from failure
    return {
        "path": name if equals else path.name,
        "content": base64.b64encode(content).decode(),
        "encoding": "base64",
        "mode": "755" if executable else "644",
    }


def _size(memory: str | None) -> int | None:
    if memory is None:
        return None
    from khala.config import parse_size

    return parse_size(memory, "--memory")
