"""The box of level strict: bubblewrap's arguments, and what it says about how it went.

bwrap(1) is run by the slot's user, with an empty environment: a variable of the task, such as
LD_PRELOAD, must not reach it. What the task gets (its environment, the files of /etc) goes through
descriptors that nobody else can read.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH110, PTH112, PTH114, PTH115

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import replace

from .program import Program
from .sealed import sealed_file

HOSTNAME = "khala"
# bwrap itself outside, and the first process of the process namespace inside.
BOX_PROCESSES = 2
ROOT_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
LD_CACHE, LOCALTIME = "/etc/ld.so.cache", "/etc/localtime"
ETC_SHOWN = ("/etc/alternatives",)
ETC_FOR_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/ca-certificates")
NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
STARTED = b'"exit-code"'
STATUS_BYTES = 4096
SIGNALED_FROM = 128


class Box:
    """What stays the same for all tasks of a slot. `extra_paths` are shown read-only too."""

    def __init__(self, bwrap: str, owner: tuple[int, int], extra_paths: list[str]) -> None:
        self.bwrap = bwrap
        uid, gid = owner
        passwd = f"root:x:0:0::/root:/bin/sh\ntask:x:{uid}:{gid}::/tmp:/bin/bash\n"
        self._passwd = sealed_file("passwd", passwd.encode())
        self._group = sealed_file("group", f"root:x:0:\ntask:x:{gid}:\n".encode())
        self._common = [*NAMESPACES, "--disable-userns", "--die-with-parent", "--new-session"]
        self._common += ["--hostname", HOSTNAME, "--ro-bind", "/usr", "/usr"]
        for path in ROOT_LINKS:
            if os.path.islink(path):
                self._common += ["--symlink", os.readlink(path), path]
            elif os.path.isdir(path):
                self._common += ["--ro-bind", path, path]
        self._common += _shown((*ETC_SHOWN, *extra_paths))
        # Each mount costs some 0.15 ms: bwrap looks through all of them after each.
        zone = os.path.realpath(LOCALTIME)
        if zone.startswith("/usr/"):
            self._common += ["--symlink", zone, LOCALTIME]
        else:
            self._common += _shown((LOCALTIME,))
        self._common += ["--proc", "/proc", "--dev", "/dev", "--dir", "/var"]
        self._network = _shown(ETC_FOR_NETWORK)

    def arguments(self, workspace: str, env: dict[str, str], *, network: bool, tmp_bytes: int) -> list[str]:
        """bwrap's options for one phase, but for those that `around` adds. `tmp_bytes` is the
        size of /tmp, or 0 for the kernel's own idea."""
        options = [*self._common, *(self._network if network else ("--unshare-net",))]
        size = ["--size", str(tmp_bytes)] if tmp_bytes else []
        # The workspace may lie in there, and a mount cannot be below a link.
        inside = workspace.startswith("/var/tmp/")
        options += [*size, "--tmpfs", "/var/tmp"] if inside else ["--symlink", "/tmp", "/var/tmp"]
        options += [*size, "--tmpfs", "/tmp", "--bind", workspace, workspace, "--chdir", workspace]
        for key, value in env.items():
            options += ["--setenv", key, value]
        return options

    def around(self, program: Program, options: list[str], status_fd: int, held: ExitStack) -> Program:
        """bwrap with `program` in it; `held` closes what was opened for this start."""
        files = {"/etc/passwd": self._passwd, "/etc/group": self._group}
        for fd in files.values():
            os.lseek(fd, 0, os.SEEK_SET)
        with suppress(FileNotFoundError):
            files[LD_CACHE] = os.open(LD_CACHE, os.O_RDONLY | os.O_CLOEXEC)
            held.callback(os.close, files[LD_CACHE])
        options = [*options, "--json-status-fd", str(status_fd)]
        for path, fd in files.items():
            options += ["--perms", "0644", "--file", str(fd), path]
        options += ["--remount-ro", "/"]
        given = sealed_file("box", "\0".join(options).encode("utf-8", "surrogateescape") + b"\0")
        held.callback(os.close, given)
        return replace(
            program,
            argv=["bwrap", "--args", str(given), "--", *program.argv],
            env={},
            box=self.bwrap,
            kept_fds=(given, status_fd, *files.values()),
        )


def box_started(status_fd: int) -> bool:
    """Did the box come up, so that what it exited with is the command's? Ask after its end."""
    try:
        return STARTED in os.read(status_fd, STATUS_BYTES)
    except BlockingIOError:
        return False


def _shown(paths: tuple[str, ...]) -> list[str]:
    return [part for path in paths if os.path.exists(path) for part in ("--ro-bind", path, path)]
