"""`--main-task-user-group`: from USER:GROUP to the uid and gid that all tasks run as."""

from __future__ import annotations

import grp
import os
import pwd

from khala.errors import ConfigurationError

FLAG = "--main-task-user-group"


def task_owner(text: str) -> tuple[int, int] | None:
    """uid and gid of `text`, USER:GROUP or USER, by names or numbers; None for "".

    ConfigurationError for an unknown one, for root (P18), and for another user than this process's own
    if it is not root.
    """
    if not text:
        return None
    user, _, group = text.partition(":")
    uid, own_gid = _user(user)
    gid = _group(group) if group else own_gid
    if gid is None:
        raise ConfigurationError(f"{FLAG} {text}: a user given by number needs a group, as {user}:GROUP")
    if 0 in (uid, gid):
        raise ConfigurationError(f"{FLAG} {text}: tasks never run as root; name another user and group")
    if os.geteuid() != 0 and (uid, gid) != (os.geteuid(), os.getegid()):
        raise ConfigurationError(f"{FLAG} {text}: only root runs tasks as another user; leave it out")
    return uid, gid


def _user(name: str) -> tuple[int, int | None]:
    try:
        if name.isdigit():
            return int(name), _primary_group(int(name))
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigurationError(f"{FLAG}: there is no user {name!r} here; make it first") from None
    return entry.pw_uid, entry.pw_gid


def _primary_group(uid: int) -> int | None:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return None


def _group(name: str) -> int:
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(f"{FLAG}: there is no group {name!r} here; make it first") from None
