"""Translates what the etcd client library and gRPC raise into Khala's errors. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from etcd3.exceptions import Etcd3Exception

from khala.errors import ConfigurationError, KhalaError, OutcomeUnknown, Unavailable

WRONG_SECRET = "the cluster secret does not fit: give the one of this cluster (KHALA_SECRET or --secret-file)"
NOT_FOR_LEARNERS = "rpc not supported for learner"
"""What a server that has no vote yet answers to almost everything."""
NO_SECRET = "this cluster has a secret: give it by KHALA_SECRET or --secret-file"


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Around each call; `where` names the endpoint. After any error the connection is to be replaced."""
    try:
        yield
    except grpc.RpcError as error:
        raise _meaning(error, where) from error
    except Etcd3Exception as error:
        cause = error.__context__  # the library drops the code and the details
        if isinstance(cause, grpc.RpcError):
            raise _meaning(cause, where) from error
        raise Unavailable(f"etcd at {where}: {type(error).__name__}") from error


def _meaning(error: grpc.RpcError, where: str) -> KhalaError:
    code, details = error.code(), error.details() or ""
    if "authentication failed" in details:
        return ConfigurationError(f"etcd at {where}: {WRONG_SECRET}")
    if "user name is empty" in details:
        return ConfigurationError(f"etcd at {where}: {NO_SECRET}")
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return ConfigurationError(f"etcd at {where}: {details}: its users were not made by this Khala")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return OutcomeUnknown(f"etcd at {where} did not answer in time")
    return Unavailable(f"etcd at {where}: {details or code.name}")
