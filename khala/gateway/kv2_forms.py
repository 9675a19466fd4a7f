"""A KV2 form as a task: compile source at the top of the workspace, execute data under `data/`."""

from __future__ import annotations

import asyncio
import re

from khala.core.task import Archive, Command, InputFile, Limits, TaskSpec
from khala.core.validation import MAX_USER, check_path, validate_shape
from khala.errors import Refusal
from khala.gateway.exchange import Call
from khala.gateway.forms import Form
from khala.gateway.kv2_views import DATA_FOLDER
from khala.gateway.uploads import put_file
from khala.gateway.zips import check_zip

MAX_TIMEOUT_S = 2**31 - 1


async def spec_from_form(call: Call, form: Form) -> TaskSpec:
    """The task that a KV2 user asks for; its zip files are stored already. Raises Refusal."""
    compile_command, execute_command = form.text("compile_command"), form.text("execute_command")
    compile_limits = _limits(form, "compile_timeout")
    execute_limits = _limits(form, "execute_timeout")
    spec = TaskSpec(
        user=_integer(form.text("user"), "user", MAX_USER),
        inputs=(*_named_text(form, "compile_source", ""), *_named_text(form, "execute_data", DATA_FOLDER)),
        compile=Command(shell=compile_command, limits=compile_limits) if compile_command else None,
        execute=Command(
            shell=execute_command, stdin=form.text("execute_input").encode(), limits=execute_limits
        )
        if execute_command
        else None,
        expected_output=form.text("execute_standard").encode() or None,
    )
    validate_shape(spec)
    archives = [
        Archive(file_id=sha256, path=path)
        for name, path in (("compile_source", ""), ("execute_data", DATA_FOLDER))
        if (sha256 := await _stored_zip(call, form, name))
    ]
    return TaskSpec(
        user=spec.user,
        inputs=spec.inputs,
        archives=tuple(archives),
        compile=spec.compile,
        execute=spec.execute,
        expected_output=spec.expected_output,
    )


def _named_text(form: Form, name: str, folder: str) -> tuple[InputFile, ...]:
    """The file given as a name and a text, unless a zip file overrides it."""
    path, content = form.text(f"{name}_name"), form.text(f"{name}_str")
    if form.file(name) is not None or not path or not content:
        return ()
    check_path(path, f"{name}_name")
    return (InputFile(path=f"{folder}/{path}" if folder else path, content=content.encode()),)


async def _stored_zip(call: Call, form: Form, name: str) -> str:
    spool = form.file(name)
    if spool is None:
        return ""
    await asyncio.to_thread(check_zip, spool.file, name)
    await put_file(call, spool.sha256, spool.size, spool.read_at)
    return spool.sha256


def _limits(form: Form, name: str) -> Limits:
    seconds = _integer(form.text(name) or "0", name, MAX_TIMEOUT_S)
    return Limits(wall_time_s=float(seconds) if seconds else None)


def _integer(text: str, field: str, high: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text.strip()) or int(text) > high:
        raise Refusal(f"{field}: expected a whole number from 0 to {high}", field=field)
    return int(text)
