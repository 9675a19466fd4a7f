"""Between the domain's values and the launcher's frames. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from khala.core.globs import parse_glob
from khala.core.task import (
    Command,
    ExitReason,
    OnDisconnect,
    Outcome,
    OutputFile,
    OutputGlob,
    Phase,
    PhaseResult,
    Result,
    StreamCapture,
)
from khala.errors import Refusal
from khala.execution.bounds import Unrunnable, phase_limits, require_level
from khala.execution.job import Job
from khala.execution.launching.framing import BadFrame, Header, encode
from khala.execution.settings import ExecutionSettings


def encode_job(job: Job, settings: ExecutionSettings, deadline_s: float | None) -> bytes:
    """The frame that starts `job`. Unrunnable if it asks for what this executor does not give. A task that
    is to stop with its executor runs until `deadline_s` (CLOCK_BOOTTIME; None: without one) (P11)."""
    require_level(job.spec, settings)
    blobs: list[bytes] = []
    spec = job.spec
    inputs: list[Header] = []
    for item in spec.inputs:
        entry: Header = {"path": item.path, "mode": item.mode}
        if item.file_id:
            entry |= {"file_id": item.file_id, "file": _local(job.files, item.file_id)}
        else:
            entry["blob"] = _add(blobs, item.content)
        inputs.append(entry)
    archives = [
        {"file_id": archive.file_id, "path": archive.path, "file": _local(job.files, archive.file_id)}
        for archive in spec.archives
    ]
    header: Header = {
        "task_id": job.task_id,
        "attempt": job.attempt,
        "inputs": inputs,
        "archives": archives,
        "outputs": [_output(output) for output in spec.outputs],
        "isolation": spec.isolation.value,
        "network": spec.network,
        "deadline_s": deadline_s if spec.on_disconnect is OnDisconnect.STOP else None,
    }
    for phase, command in ((Phase.COMPILE, spec.compile), (Phase.EXECUTE, spec.execute)):
        header[phase.value] = _command(command, job.files, blobs)
        if command is not None:
            header[phase.value]["limits"] = phase_limits(phase.value, command.limits, settings)
    return encode({"job": header}, blobs, dumps=_dumps)


def encode_abort(job: Job, kill_grace_s: float) -> bytes:
    """The frame that aborts `job`."""
    return encode({"abort": [job.task_id, job.attempt], "kill_grace_s": kill_grace_s})


def encode_renewal(deadline_s: float) -> bytes:
    """The frame that lets the job run until `deadline_s`, if it has a deadline."""
    return encode({"renewed_s": deadline_s})


def read_header(text: bytes) -> Any:
    """A launcher's header. A file's name in it may be no UTF-8, which orjson does not take.

    ValueError if it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _dumps(header: Header) -> bytes:
    try:
        return orjson.dumps(header)
    except TypeError:
        return json.dumps(header).encode()


def decode_outcome(end: Header, blobs: Sequence[bytes]) -> Outcome:
    """The outcome out of a launcher's frame; BadFrame if it is not one."""
    try:
        return Outcome(
            exit_reason=ExitReason(end["exit_reason"]),
            succeeded=bool(end["succeeded"]),
            reason=str(end["reason"]),
            phase=Phase(end["phase"]) if end["phase"] else None,
            result=_result(end, blobs),
            finished_at=float(end["finished_at"]),
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadFrame(f"no outcome: {error!r}") from error


def decode_done(header: Header, blobs: Sequence[bytes]) -> tuple[str, int, Outcome]:
    """Of which attempt a launcher says that its only command succeeded and left nothing, and its outcome;
    BadFrame if that is not what it says."""
    try:
        task_id, attempt, finished_at, *figures = header["done"]
        started_at, wall_time_s, cpu_user_s, cpu_system_s, rss_bytes, memory_bytes, processes = figures
        stdout, stderr = blobs
        phase = PhaseResult(
            exit_reason=ExitReason.EXITED,
            exit_code=0,
            started_at=started_at,
            wall_time_s=wall_time_s,
            cpu_user_s=cpu_user_s,
            cpu_system_s=cpu_system_s,
            max_rss_bytes=rss_bytes,
            max_memory_bytes=memory_bytes,
            max_processes=processes,
            stdout=StreamCapture(size=len(stdout), head=stdout),
            stderr=StreamCapture(size=len(stderr), head=stderr),
        )
        outcome = Outcome(
            exit_reason=ExitReason.EXITED,
            succeeded=True,
            phase=Phase.EXECUTE,
            result=Result(execute=phase, enforced=tuple(header["enforced"])),
            finished_at=float(finished_at),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadFrame(f"no outcome: {error!r}") from error
    return task_id, attempt, outcome


def _command(command: Command | None, files: Mapping[str, Path], blobs: list[bytes]) -> Header | None:
    if command is None:
        return None
    header: Header = {
        "shell": command.shell,
        "argv": list(command.argv),
        "env": dict(command.env),
    }
    if command.stdin_file:
        return header | {"stdin_file": _local(files, command.stdin_file)}
    return header | {"stdin": _add(blobs, command.stdin)}


def _output(output: OutputGlob) -> Header:
    try:
        return {"glob": output.glob, "needed": output.needed, "parts": parse_glob(output.glob)}
    except Refusal as why:
        raise Unrunnable(f"output {output.glob!r}: {why}") from why


def _local(files: Mapping[str, Path], sha256: str) -> str:
    """Where the stored file is; a missing one is found out, and told, in the launcher."""
    return str(files.get(sha256, ""))


def _add(blobs: list[bytes], data: bytes) -> int:
    blobs.append(data)
    return len(blobs) - 1


def _result(end: Header, blobs: Sequence[bytes]) -> Result | None:
    if end["compile"] is None and end["execute"] is None:
        return None
    return Result(
        compile=_phase(end["compile"], blobs),
        execute=_phase(end["execute"], blobs),
        enforced=tuple(str(name) for name in end["enforced"]),
        outputs=tuple(OutputFile(**file) for file in end["outputs"]),
    )


def _phase(phase: Header | None, blobs: Sequence[bytes]) -> PhaseResult | None:
    if phase is None:
        return None
    return PhaseResult(
        exit_reason=ExitReason(phase["exit_reason"]),
        exit_code=phase["exit_code"],
        signal=phase["signal"],
        started_at=phase["started_at"],
        wall_time_s=phase["wall_time_s"],
        cpu_user_s=phase["cpu_user_s"],
        cpu_system_s=phase["cpu_system_s"],
        max_rss_bytes=phase["max_rss_bytes"],
        max_memory_bytes=phase["max_memory_bytes"],
        max_processes=phase["max_processes"],
        disk_bytes=phase["disk_bytes"],
        stdout=_stream(phase["stdout"], blobs),
        stderr=_stream(phase["stderr"], blobs),
    )


def _stream(stream: dict[str, Any], blobs: Sequence[bytes]) -> StreamCapture:
    return StreamCapture(
        size=stream["size"],
        head=blobs[stream["head"]],
        tail=blobs[stream["tail"]],
        truncated=stream["truncated"],
        stored_bytes=stream["stored_bytes"],
        sha256=stream["sha256"],
    )
