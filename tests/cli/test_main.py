"""Help that teaches, stable exit codes, errors in one line with the next step."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli.conftest import ROOT, Khala
from client.gateway_stand_in import Answer

from khala.cli import main as cli
from khala.cli.exits import Exit, code_of
from khala.cli.main import _COMMANDS
from khala.cli.task_options import task_options
from khala.errors import ConfigurationError, Fault, OutcomeUnknown, Refusal, Unavailable

ROLES = {"judicator", "executor", "gateway"}


@pytest.mark.parametrize("command", sorted(_COMMANDS))
def test_every_command_teaches_with_an_example(khala: Khala, command: str) -> None:
    ended = khala(command, "--help")
    assert ended.code == 0
    assert f"  khala {command}" in ended.out.split("Options:")[0]
    if command not in ROLES:
        assert "--json" in ended.out


def test_the_group_lists_every_command_and_its_exit_codes(khala: Khala) -> None:
    ended = khala("--help")
    assert ended.code == 0
    assert "Exit codes" in ended.out
    for command in _COMMANDS:
        assert re.search(rf"^  {command} ", ended.out, re.MULTILINE)


def test_the_group_says_of_each_command_what_that_says_itself() -> None:
    with click.Context(cli.khala) as context:
        for command, (_, brief) in _COMMANDS.items():
            found = cli.khala.get_command(context, command)
            assert found is not None and found.get_short_help_str(limit=62) == brief


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), Exit.USAGE),
        (Unavailable("x"), Exit.UNREACHABLE),
        (OutcomeUnknown("x"), Exit.UNREACHABLE),
        (Refusal("x"), Exit.REFUSED),
        (Fault("x"), Exit.ERROR),
    ],
)
def test_each_family_of_errors_has_its_code(error: Exception, code: Exit) -> None:
    assert code_of(error) == code


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["ls", "--limit", "0"], 2, "--limit"),
        (["ls"], 3, "start one with `khala up`"),
        (["show"], 2, "TASK_ID"),
        (["show", "0" * 24], 3, "start one with `khala up`"),
        (["status"], 3, "start one with `khala up`"),
        (["executors"], 3, "khala up"),
        (["run", "--", "true"], 125, "khala up"),
        (["run"], 2, "COMMAND"),
        (["run", "--env", "nothing", "--", "true"], 2, "--env: 'nothing' is not a pair"),
        (["run", "--input-file", "/no/such", "--", "true"], 2, "cannot read /no/such"),
        (["run", "--memory", "much", "--", "true"], 2, "--memory: 'much' is not a size"),
        (["run", "--constraint", "gpu", "--", "true"], 2, "--constraint: 'gpu' is not a pair"),
        (["run", "--isolation", "much", "--", "true"], 2, "'none', 'basic', 'strict'"),
        (["run", "--user-id", "-1", "--", "true"], 2, "--user-id"),
        (
            ["run", "--expected-output", "/no/such", "--", "true"],
            2,
            "--expected-output: cannot read /no/such",
        ),
        (["run", "--checker", "exact", "--", "true"], 2, "--checker: give --expected-output too"),
        (["submit"], 2, "give a command after --"),
        (["job", "submit"], 2, "give a command after --"),
        (["job", "submit", "--", "true"], 2, "give one of --range, --values and --csv"),
        (["job", "submit", "--range", "1:x", "--", "true"], 2, "'1:x' is not a range such as"),
        (["job", "submit", "--values", "1,2", "--", "true"], 2, "'1,2' is not a list such as"),
        (["job", "submit", "--values", "a=1", "--values", "a=2", "--", "true"], 2, "each name once"),
        (["job", "submit", "--csv", "/no/such", "--", "true"], 2, "cannot read /no/such"),
        (["submit", "--file", "/no/such"], 2, "--file: cannot read /no/such"),
        (["executor"], 2, "--etcd-cluster-join-member-client"),
        (["executor", "--main-task-vacant=many"], 2, "--main-task-vacant: 'many' is not a whole number"),
        (["judicator", "--no-such-flag"], 2, "--no-such-flag"),
        (["up", "--executors", "0"], 2, "--executors"),
    ],
)
def test_a_mistake_is_one_line_with_the_next_step(
    khala: Khala, words: list[str], code: int, said: str
) -> None:
    ended = khala(*words)
    assert ended.code == code
    assert said in ended.err
    assert "Traceback" not in ended.err
    if not ended.err.startswith("Usage:"):
        assert ended.err.count("\n") == 1


def test_down_without_a_cluster_is_no_error(khala: Khala) -> None:
    ended = khala("down", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["stopped"] is False


def test_a_refusal_has_its_own_code(khala: Khala, gateway) -> None:  # type: ignore[no-untyped-def]
    served = gateway(Answer(404, {"detail": "there is no task 0", "code": "not_found"}))
    ended = khala("show", "0" * 24, url=served.url)
    assert (ended.code, ended.err) == (4, "khala: there is no task 0\n")


def test_debugging_shows_the_traceback(khala: Khala, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KHALA_DEBUG", "1")
    assert "Traceback" in khala("ls").err


def test_a_reader_that_goes_away_is_no_error(khala: Khala) -> None:
    """`khala --help | head -1` must not complain."""
    script = f"{sys.executable} -m khala.cli.main --help | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert ended.stderr == ""
    assert ended.stdout.strip() in ("0", "141")


def test_every_option_of_a_task_is_documented() -> None:
    @task_options
    def command() -> None:
        """Takes them."""

    options = {opt for each in command.__click_params__ for opt in each.opts}  # type: ignore[attr-defined]
    documented = re.findall(r"^\| `(--[a-z-]+)", (ROOT / "docs/task-options.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(options)


def test_run_loads_no_more_than_it_needs() -> None:
    """Slow to load are the web server, the database driver, rich, and the settings of the roles."""
    program = "import sys; from khala.cli.main import main; main(['run', '--help']); print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    loaded = set(ended.stdout.splitlines()[-1].split())
    heavy = {
        "sanic",
        "pymongo",
        "rich",
        "pykka",
        "structlog",
        "khala.node",
        "khala.config",
        "khala.core",
    }
    assert not loaded & heavy


def test_doctor_names_every_program(khala: Khala) -> None:
    ended = khala("doctor", "--json")
    found = {entry["what"]: entry["state"] for entry in json.loads(ended.out)}
    assert {"python", "etcd", "mongod", "bwrap", "g++", "cgroups"} <= set(found)
    assert ended.code == (1 if "missing" in found.values() else 0)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell: str, khala: Khala) -> None:
    assert "_KHALA_COMPLETE" in khala("completion", shell).out
    ask = {
        "_KHALA_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "khala dr",
        "COMP_CWORD": "dr" if shell == "fish" else "1",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "khala.cli.main"], capture_output=True, text=True, cwd=ROOT, timeout=60,
        env={**os.environ, **ask}, check=False,
    )  # fmt: skip
    assert "drain" in ended.stdout, ended.stderr


def test_colours_are_for_terminals_only(khala: Khala, gateway) -> None:  # type: ignore[no-untyped-def]
    task = {"id": "0" * 24, "state": "failed"}
    served = gateway(Answer(200, {"tasks": [task], "next_page_token": None}))
    assert "\x1b" not in khala("ls", url=served.url).out
    controller, terminal = os.openpty()
    environment = {**os.environ, "KHALA_URL": served.url, "TERM": "xterm"}
    for name in ("NO_COLOR", "KHALA_DATA_DIR"):
        environment.pop(name, None)
    subprocess.run(
        [sys.executable, "-m", "khala.cli.main", "ls"], stdout=terminal, cwd=ROOT, timeout=60, check=True,
        env=environment,
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # it is read to its end, which comes in pieces
        while part := os.read(controller, 65536):
            shown += part
    os.close(controller)
    assert "\x1b[31mfailed" in shown.decode()


def test_version_is_the_packages(khala: Khala) -> None:
    version = re.search(r'"(.+)"', (Path(ROOT) / "khala/__init__.py").read_text().split("__version__")[1])
    assert version is not None
    assert khala("--version").out == f"khala {version[1]}\n"
