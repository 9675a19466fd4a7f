"""Which stored files a specification needs. Pure."""

from __future__ import annotations

from khala.core.task import TaskSpec


def file_ids_of(spec: TaskSpec) -> tuple[str, ...]:
    """The sha256 of every stored file that must be at hand before an attempt starts, without repeats."""
    wanted = [archive.file_id for archive in spec.archives]
    wanted += [file.file_id for file in spec.inputs if file.file_id]
    for command in (spec.compile, spec.execute):
        if command is not None and command.stdin_file:
            wanted.append(command.stdin_file)
    return tuple(dict.fromkeys(wanted))
