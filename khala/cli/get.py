"""`khala get`: the output files of a task, into a folder here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, note
from khala.cli.output import print_json
from khala.client import OutputFileView
from khala.errors import ConfigurationError, Refusal


@click.command()
@click.argument("task_id")
@click.argument("paths", nargs=-1)
@click.option(
    "-o", "--output-dir", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(),
    metavar="DIR", help="Where to put them.  [default: here]",
)  # fmt: skip
@cluster_options
def get(task_id: str, paths: Sequence[str], folder: Path, data_dir: Path | None, as_json: bool) -> int:
    """Save a task's output files: all of them, or those at PATHS.

    \b
      khala run --output 'out/**' -- make
      khala get 65f0c1a2b3c4d5e6f7a8b9c0 -o results
      khala get 65f0c1a2b3c4d5e6f7a8b9c0 out/report.pdf

    A file that is here already is replaced. Exits with 4 if there is no such file.
    """
    saved: list[object] = []
    with connect(data_dir) as client:
        for file in _wanted(client.outputs(task_id), paths):
            try:
                place = client.save_output(task_id, file, folder)
            except OSError as failure:
                raise ConfigurationError(f"cannot save {file.path}: {failure.strerror}") from failure
            saved.append({"path": file.path, "size": file.size, "sha256": file.sha256, "saved": str(place)})
            if not as_json:
                click.echo(place)
    if as_json:
        print_json({"files": saved})
    elif not saved:
        note("khala: the task has no output files; name some with --output when it is submitted")
    return Exit.OK


def _wanted(files: Sequence[OutputFileView], paths: Sequence[str]) -> Sequence[OutputFileView]:
    by_path = {file.path: file for file in files}
    missing = [path for path in paths if path not in by_path]
    if missing:
        raise Refusal(f"the task has no output file {missing[0]!r}", code="not_found", field="path")
    return [by_path[path] for path in paths] if paths else files
