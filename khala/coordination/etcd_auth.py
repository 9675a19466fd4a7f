"""Closes an etcd cluster with the cluster's secret (P17), and keeps it closed.

Two users, with passwords derived from the secret: `root` administers, `khala` reads and writes
Khala's keys and nothing else. Called by a judicator once its etcd is ready, before it publishes
itself; any thread, blocking. Another judicator may do the same at the same time.
"""

from __future__ import annotations

import time

from etcd3 import etcdrpc
from etcd3.client import MultiEndpointEtcd3Client
from etcd3.utils import prefix_range_end

from khala.coordination.etcd_client import EtcdClient, connect
from khala.coordination.etcd_errors import WRONG_SECRET, translated
from khala.coordination.etcd_keys import KV2_PREFIX, PREFIX
from khala.coordination.etcd_settings import KHALA, ROOT, address_of, password_of
from khala.errors import ConfigurationError, Unavailable

_CALL_TIMEOUT_S = 2.0
_PAUSE_S = 0.2
_READ_AND_WRITE = 2  # authpb.Permission.READWRITE


def secure(endpoint: str, secret: bytes, *, timeout_s: float = 15.0) -> None:
    """See to it that etcd at `endpoint` demands the users of this secret. Idempotent.

    Raises ConfigurationError when it already demands those of another secret, Unavailable when that
    could not be done within `timeout_s` seconds.
    """
    address = address_of(endpoint)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if not _is_closed(address, secret):
                _make_users(address, secret)
            if not _khala_fits(address, secret):
                _mend_khala(address, secret)
                continue
            return
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"etcd was not secured within {timeout_s} s: {error}") from error
            time.sleep(_PAUSE_S)


def _is_closed(address: tuple[str, int], secret: bytes) -> bool:
    """Whether a login is demanded; the one of `root` was then tried and is right."""
    try:
        _as_root(address, secret).close()
    except Unavailable as error:
        if "authentication is not enabled" in str(error):
            return False
        raise
    except ConfigurationError:
        raise ConfigurationError(f"etcd at {address[0]}:{address[1]}: {WRONG_SECRET}") from None
    return True


def _make_users(address: tuple[str, int], secret: bytes) -> None:
    """On an open cluster: make `root` and close. When another judicator closes it in the middle, the
    call that is then refused counts as unavailable: the next try finds it closed."""
    client = connect(address, timeout_s=_CALL_TIMEOUT_S)
    try:
        _make_user(client, ROOT, secret)
        _call(client, "UserGrantRole", etcdrpc.AuthUserGrantRoleRequest(user=ROOT, role=ROOT))
        _make_khala(client, secret)
        _call(client, "AuthEnable", etcdrpc.AuthEnableRequest())
    except ConfigurationError as error:
        raise Unavailable(str(error)) from error
    finally:
        client.close()


def _khala_fits(address: tuple[str, int], secret: bytes) -> bool:
    try:
        client = EtcdClient(address, secret=secret, timeout_s=_CALL_TIMEOUT_S)
    except ConfigurationError:
        return False
    try:
        client.read_below(PREFIX)
    except ConfigurationError:
        return False
    finally:
        client.close()
    return True


def _mend_khala(address: tuple[str, int], secret: bytes) -> None:
    """On a closed cluster: make what somebody took away. Not done without need: a password that is
    set again logs every client out."""
    client = _as_root(address, secret)
    try:
        _make_khala(client, secret)
    finally:
        client.close()


def _make_khala(client: MultiEndpointEtcd3Client, secret: bytes) -> None:
    _call(client, "RoleAdd", etcdrpc.AuthRoleAddRequest(name=KHALA), or_else="already exists")
    for prefix in (PREFIX, KV2_PREFIX):
        grant = etcdrpc.AuthRoleGrantPermissionRequest(name=KHALA)
        grant.perm.permType = _READ_AND_WRITE
        grant.perm.key = prefix.encode()
        grant.perm.range_end = prefix_range_end(prefix.encode())
        _call(client, "RoleGrantPermission", grant)
    _make_user(client, KHALA, secret)
    _call(client, "UserGrantRole", etcdrpc.AuthUserGrantRoleRequest(user=KHALA, role=KHALA))


def _make_user(client: MultiEndpointEtcd3Client, name: str, secret: bytes) -> None:
    """A user with the derived password; one that exists gets that password, whatever it had."""
    password = password_of(name, secret)
    request = etcdrpc.AuthUserAddRequest(name=name, password=password)
    if not _call(client, "UserAdd", request, or_else="already exists"):
        change = etcdrpc.AuthUserChangePasswordRequest(name=name, password=password)
        _call(client, "UserChangePassword", change)


def _as_root(address: tuple[str, int], secret: bytes) -> MultiEndpointEtcd3Client:
    return connect(address, timeout_s=_CALL_TIMEOUT_S, user=ROOT, password=password_of(ROOT, secret))


def _call(client: MultiEndpointEtcd3Client, method: str, request: object, *, or_else: str = "\0") -> bool:
    """One call of the Auth service; false when etcd refused it with the text `or_else`."""
    try:
        with translated("the new cluster"):
            getattr(client.authstub, method)(request, client.timeout, metadata=client.metadata)
    except Unavailable as error:
        if or_else in str(error):
            return False
        raise
    return True
