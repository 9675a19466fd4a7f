"""What the executor's owner may set about running commands, and the check that the host allows it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from khala.core.task import Isolation, Limits
from khala.errors import ConfigurationError

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
NO_LIMITS = Limits()
DEFAULT_LIMITS = Limits(
    processes=512,
    open_files=1024,
    output_bytes=64 * 1024 * 1024,
    disk_bytes=1024 * 1024 * 1024,
)
PROBE = "cd \"$1\" && printf '#!/bin/sh\\nexit 0\\n' > probe && chmod 700 probe && ./probe"
PROBE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSettings:
    """How a LauncherPool runs commands.

    Under root, slot n runs its tasks as uid and gid `uid_base` + n (P18); executors that share a
    host need ranges that do not overlap (khala.execution.uid_range). With `shared_owner` (uid, gid)
    all slots run their tasks as that user instead. `env` is added to every task's environment and may
    replace PATH and LANG. No job starts while less than `reserve_bytes` of the disk is free.

    `levels`, `cgroups` and `bwrap` (its path, or "") say what holds here; khala.execution.probing
    finds out. `default_limits` bound a phase that does not ask, `ceilings` one that does.
    `memory_bytes` (0: no limit) bounds all tasks together. A disk limit of at most `tmpfs_bytes` is
    held by a file system of that size. `shown_paths` are visible in strict's box, beside /usr.

    Output beyond head and tail, and of attempts that last, goes to files below `spool_root` (None: it is
    not kept), of each phase at most its output limit and at most `stored_output_bytes`.
    Output files go there too, of an attempt at most `kept_files_bytes`.
    """

    slots: int
    workspace_root: Path
    uid_base: int = 61000
    path: str = DEFAULT_PATH
    env: Mapping[str, str] = field(default_factory=dict)
    capture_head_bytes: int = 32 * 1024
    capture_tail_bytes: int = 32 * 1024
    kill_grace_s: float = 1.0
    reserve_bytes: int = 64 * 1024 * 1024
    shared_owner: tuple[int, int] | None = None
    levels: tuple[Isolation, ...] = (Isolation.NONE, Isolation.BASIC)
    cgroups: bool = False
    bwrap: str = ""
    default_limits: Limits = DEFAULT_LIMITS
    ceilings: Limits = NO_LIMITS
    memory_bytes: int = 0
    tmpfs_bytes: int = 256 * 1024 * 1024
    shown_paths: tuple[str, ...] = ()
    spool_root: Path | None = None
    stored_output_bytes: int = 64 * 1024 * 1024
    kept_files_bytes: int = 512 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ConfigurationError(f"{self.slots} slots: an executor needs at least 1; change --slots")
        if self.uid_base < 1:
            raise ConfigurationError(f"uid_base {self.uid_base} would run tasks as root; use 61000 or more")
        if self.shared_owner is not None and 0 in self.shared_owner:
            raise ConfigurationError("tasks never run as root; name another with --main-task-user-group")
        if min(self.capture_head_bytes, self.capture_tail_bytes) < 1 or self.kill_grace_s < 0:
            raise ConfigurationError("capture sizes must be at least 1 byte and kill_grace_s not negative")

    def slot_owner(self, slot: int) -> tuple[int, int] | None:
        """The uid and gid of a slot's tasks; None when the executor is not root and cannot change them."""
        if os.geteuid() != 0:
            return None
        return self.shared_owner or (self.uid_base + slot, self.uid_base + slot)

    def slot_uid(self, slot: int) -> int | None:
        """The uid of a slot's tasks; None when the executor is not root and cannot change it."""
        owner = self.slot_owner(slot)
        return None if owner is None else owner[0]


def prepare_workspace_root(path: Path, uid: int | None) -> None:
    """Make `path` and try, as `uid` (None: as this process), what every task will do in it: enter a
    workspace, write a file, run it. ConfigurationError with the next step if that does not work."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700 if uid is None else 0o711)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=path) as probe:
            if uid is not None:
                os.chown(probe, uid, uid)
            _try_as(uid, probe)
    except OSError as error:
        raise ConfigurationError(
            f"workspace root {path}: {error.strerror or error}; choose another with --workspace-root"
        ) from error


def _try_as(uid: int | None, directory: str) -> None:
    try:
        tried = subprocess.run(
            ["/bin/sh", "-c", PROBE, "probe", directory],
            capture_output=True,
            check=False,
            env={"PATH": DEFAULT_PATH},
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            timeout=PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"workspace root {directory} does not answer; choose another with --workspace-root"
        ) from error
    if tried.returncode != 0:
        who = "this user" if uid is None else f"uid {uid}"
        said = tried.stderr.decode(errors="replace").strip()
        raise ConfigurationError(
            f"workspace root: {who} cannot enter, write and run in {directory} ({said}); choose another "
            "with --workspace-root, or let others pass its parents (chmod o+x) and mount it without noexec"
        )
