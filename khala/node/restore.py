"""Restoring a backup as the data of a judicator that never ran, and looking at one without restoring it.

A mongod of its own, alone and on the loopback interface, loads the file; the folder gets its proper name
only when everything is in it and on the disk. Runs in the command's own thread.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from khala.core.access import token_digest
from khala.errors import ConfigurationError
from khala.node.lifetime import read_clocks
from khala.services.data_directory import DataDirectory
from khala.services.executables import find_mongod
from khala.services.mongod import MongodServer
from khala.services.native_process import NativeService, Patience
from khala.services.ports import any_free_port
from khala.store.archive import ArchiveReader
from khala.store.mongo.client import MongoSettings
from khala.store.mongo.load import load, verify

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 120.0
_SCRATCH, _PROGRAMS = "restoring", "programs"

Progress = Callable[[int, int], None]
"""Called with the bytes of the file that were read, and its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a backup has: documents per collection; `made_at` is Unix seconds. `generation` is the one
    that was, or after a restore the new one."""

    cluster_id: str
    generation: int
    schema: int
    khala: str
    made_at: float
    documents: Mapping[str, int]


def verify_backup(file: Path, progress: Progress) -> Contents:
    """Check all of `file` and say what is in it; ConfigurationError if it is damaged or not ours."""
    with _reading(file, progress) as archive:
        verify(archive)
        return _contents(archive, archive.header["generation"])


def restore_backup(
    file: Path, data_dir: Path, progress: Progress, *, admin_token: str = "", mongodb_exe: str = ""
) -> Contents:
    """Make `file` the data of the judicator whose --data-dir is `data_dir`, and which never ran.

    Its store has a new generation (P4), and `admin_token` as one more token of an administrator. The file is
    checked wholly before. When this raises (ConfigurationError, Unavailable), nothing was restored and
    nothing is left of it.
    """
    target, scratch = data_dir / "mongodb", data_dir / _SCRATCH
    found = [entry.name for entry in data_dir.iterdir()] if data_dir.exists() else []
    if not set(found) <= {_SCRATCH, _PROGRAMS}:
        raise ConfigurationError(f"{data_dir} has data: give an empty directory, or move it aside")
    verify_backup(file, progress)
    with _reading(file, progress) as archive:
        _discard(scratch)
        try:
            generation = _load(archive, scratch / "mongodb", data_dir / _PROGRAMS, admin_token, mongodb_exe)
            (scratch / "mongodb").rename(target)
            _sync(data_dir)
        finally:
            _discard(scratch)
        return _contents(archive, generation)


def _load(archive: ArchiveReader, directory: Path, copies: Path, admin_token: str, mongodb_exe: str) -> int:
    secret = secrets.token_hex(32)
    server = MongodServer(
        executable=find_mongod(mongodb_exe, copies=copies),
        directory=directory,
        listen_address="127.0.0.1",
        port=any_free_port(),
        replica_set="",
        secret=secret.encode(),
    )
    service = NativeService(server, patience=Patience(stop_grace_s=STOP_WITHIN_S))
    service.start()
    try:
        service.wait_ready(READY_WITHIN_S)
        return load(
            MongoSettings(hosts=(f"127.0.0.1:{server.port}",), secret=secret),
            archive,
            now_s=int(read_clocks().unix_s),
            admin_token_digest=token_digest(admin_token) if admin_token else "",
        )
    finally:
        service.stop()


@contextmanager
def _reading(file: Path, progress: Progress) -> Iterator[ArchiveReader]:
    try:
        with file.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            yield ArchiveReader(content, str(file), lambda done: progress(done, size))
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error


def _contents(archive: ArchiveReader, generation: int) -> Contents:
    header = archive.header
    return Contents(
        cluster_id=header["cluster_id"],
        generation=generation,
        schema=header["schema"],
        khala=header["khala"],
        made_at=header["made_at"],
        documents={name: tally.documents for name, tally in archive.contents.items()},
    )


def _discard(scratch: Path) -> None:
    """Remove what a restore left that did not come to its end, unless it is still at work."""
    loading = scratch / "mongodb"
    if loading.exists():
        lock = DataDirectory(loading).try_lock()
        if lock is None:
            raise ConfigurationError(f"another restore is at work in {scratch}: wait for it")
        os.close(lock)
    if scratch.exists():
        shutil.rmtree(scratch)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
