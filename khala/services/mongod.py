"""A mongod server: settings, command line, key file, readiness. Pure but for `prepare` and `answers`.

Initiating the replica set and its users are the store's affair, which speaks MongoDB.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

from khala.services.data_directory import DataDirectory, Origin, write_private
from khala.services.definition import Listening
from khala.services.executables import Executable
from khala.services.mongod_hello import says_hello
from khala.services.ports import reachable

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class MongodServer:
    """One member of the replica set.

    With a `secret` the members authenticate to each other by a key file derived from it, and clients
    need a user; without one the server is open. With an empty `replica_set` it runs alone, which is for
    loading a backup: a replica set can be made of it afterwards. `cache_bytes` bounds WiredTiger's
    cache; 0 is what `cache_for` the whole host's memory says.
    """

    executable: Executable
    directory: Path
    cluster: str = "khala"
    listen_address: str = "0.0.0.0"
    port: int = 3000
    replica_set: str = "rs"
    secret: bytes | None = field(default=None, repr=False)
    cache_bytes: int = 0
    min_free_bytes: int = 512 << 20

    @property
    def kind(self) -> str:
        return "mongod"

    def files(self) -> DataDirectory:
        return DataDirectory(self.directory)

    def listening(self) -> tuple[Listening, ...]:
        return (Listening(address=self.listen_address, port=self.port, flag="--mongodb-listen-port"),)

    def prepare(self) -> None:
        files = self.files()
        files.prepare(min_free_bytes=self.min_free_bytes)
        origin = Origin(server=self.kind, series=self.executable.series, cluster=self.cluster)
        files.claim(origin, readable_series=())
        if self.secret is None:
            files.key_file.unlink(missing_ok=True)
        else:
            write_private(files.key_file, key_file_content(self.secret))

    def argv(self) -> tuple[str, ...]:
        files = self.files()
        options = [
            f"--port={self.port}",
            f"--bind_ip={self.listen_address}",
            f"--dbpath={files.data}",
            f"--wiredTigerCacheSizeGB={self._cache_bytes() / _GIB:.3f}",
            "--nounixsocket",
            "--quiet",
            # without it a signalled primary waits 15 s for an election, and a stop takes as long
            "--setParameter=shutdownTimeoutMillisForSignaledShutdown=100",
            "--setParameter=diagnosticDataCollectionEnabled=false",
            # a paused leader's open transaction must not hold its locks for the default of 60 s
            "--setParameter=transactionLifetimeLimitSeconds=5",
        ]
        if self.replica_set:
            options.append(f"--replSet={self.replica_set}")
        if ":" in self.listen_address:
            options.append("--ipv6")
        if self.secret is not None:
            options.append(f"--keyFile={files.key_file}")
        return (str(self.executable.path), *options)

    def answers(self, timeout_s: float) -> bool:
        """Whether it answers a `hello`, which needs no user; it may have no primary yet."""
        return says_hello(reachable(self.listen_address), self.port, timeout_s)

    def _cache_bytes(self) -> int:
        if self.cache_bytes:
            return max(self.cache_bytes, _GIB // 4)  # mongod refuses less
        return cache_for(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def cache_for(memory_bytes: int) -> int:
    """How much of a host's memory WiredTiger's cache may take: a tenth, between 256 MiB and 1 GiB."""
    return min(max(memory_bytes // 10, _GIB // 4), _GIB)


def key_file_content(secret: bytes) -> bytes:
    """The key of mongod's key file: base64, between 6 and 1024 characters, the same on every member."""
    return base64.b64encode(hmac.digest(secret, b"khala mongod keyFile", hashlib.sha256)) + b"\n"
