"""Filling a workspace with an attempt's inputs and archives.

`Filling` runs in a forked child of the launcher: it opens the stored files, becomes the slot's
user for good, and writes as that user. Nothing of the attempt has run by then. Its exit code is
FILLED, or REFUSED with the reason on its stdout.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH123

from __future__ import annotations

import importlib
import os
import resource
from typing import Any

from .slot import Slot
from .workspace import BadPath, create_file, relative_parts, write_all

FILLED, REFUSED = 0, 3
ARCHIVE_MODULE = f"{__package__}.archive"


class SetupRefused(Exception):
    """The workspace cannot be filled as the task asks; says what and why."""


class Filling:
    """The inputs and archives of one job, as the executor's frame lists them."""

    def __init__(self, slot: Slot, workspace_fd: int, job: dict[str, Any], blobs: list[bytes]) -> None:
        self._slot = slot
        self._workspace_fd = workspace_fd
        self._inputs = job["inputs"]
        self._archives = job["archives"]
        self._blobs = blobs
        self._sources: dict[str, int] = {}

    def __call__(self) -> int:
        """The child's work; returns its exit code."""
        try:
            if self._archives:
                # As root still: the slot's user may not be allowed to read Python's library. And only
                # this child pays for it, not the launcher that forks for every task.
                importlib.import_module(ARCHIVE_MODULE).load_codecs()
            self._open_sources()
            self._slot.become_task()
            for item in self._inputs:
                self._write_input(item)
            for item in self._archives:
                self._extract(item)
        except SetupRefused as why:
            os.write(1, str(why).encode(errors="replace")[:4096])
            return REFUSED
        return FILLED

    def _open_sources(self) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for item in (*self._inputs, *self._archives):
            path = item.get("file")
            if path is None or path in self._sources:
                continue
            try:
                self._sources[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise SetupRefused(
                    f"stored file {item['file_id']} is not on this executor ({error.strerror})"
                ) from error

    def _write_input(self, item: dict[str, Any]) -> None:
        try:
            fd = create_file(self._workspace_fd, relative_parts(item["path"]), item["mode"])
            try:
                if "file" in item:
                    _copy(self._sources[item["file"]], fd)
                else:
                    write_all(fd, self._blobs[item["blob"]])
            finally:
                os.close(fd)
        except BadPath as why:
            raise SetupRefused(f"input {item['path']!r} {why}") from why
        except (OSError, UnicodeError) as error:
            raise SetupRefused(f"input {item['path']!r} cannot be written: {_text(error)}") from error

    def _extract(self, item: dict[str, Any]) -> None:
        archive = importlib.import_module(ARCHIVE_MODULE)
        name = f"archive {item['file_id']}" + (f" for {item['path']!r}" if item["path"] else "")
        try:
            prefix = relative_parts(item["path"]) if item["path"] else ()
            with open(os.dup(self._sources[item["file"]]), "rb") as source:
                archive.extract(source, self._workspace_fd, prefix, archive.Caps())
        except (BadPath, archive.BadArchive) as why:
            raise SetupRefused(f"{name}: {why}") from why
        except (OSError, UnicodeError) as error:
            raise SetupRefused(f"{name} cannot be extracted: {_text(error)}") from error


def _copy(source: int, target: int) -> None:
    offset = 0
    while count := os.sendfile(target, source, offset, 1 << 24):
        offset += count


def _text(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError):
        where = f" ({error.filename!r})" if error.filename else ""
        return f"{error.strerror}{where}"
    return str(error)
