"""The cluster's members and state: executors, judicators, health. Runs on the event loop."""

from __future__ import annotations

from collections.abc import Sequence

from sanic.response import HTTPResponse

from khala import __version__
from khala.core.commands import (
    ExecutorViews,
    JudicatorRemoval,
    JudicatorView,
    JudicatorViews,
    ListExecutors,
    ListJudicators,
    Ping,
    Pong,
    RemoveJudicator,
)
from khala.core.membership import PRIMARY, SECONDARY, survivable
from khala.errors import Refusal, Unavailable
from khala.gateway.exchange import Call, json_response
from khala.gateway.queries import Query
from khala.gateway.routes import Route
from khala.gateway.views import Json, executor_view, judicator_view

READY_TIMEOUT_S = 2.0


def cluster_routes() -> tuple[Route, ...]:
    """The routes about the cluster, and the three outside `/api` that ask for no token."""
    api = "/api/v1"
    return (
        Route(method="GET", path=f"{api}/executors", handler=list_executors, summary="List executors"),
        Route(method="GET", path=f"{api}/executors/<id>", handler=get_executor, summary="Read an executor"),
        Route(method="GET", path=f"{api}/judicators", handler=list_judicators, summary="List judicators"),
        Route(
            method="DELETE",
            path=f"{api}/judicators/<name>",
            handler=remove_judicator,
            summary="Take a judicator out of the cluster",
        ),
        Route(method="GET", path=f"{api}/cluster", handler=get_cluster, summary="Leader, epoch, security"),
        Route(method="GET", path="/healthz", handler=healthz, summary="Is it alive?", public=True),
        Route(method="GET", path="/readyz", handler=readyz, summary="Can it accept tasks?", public=True),
        Route(method="GET", path="/version", handler=version, summary="Which version is it?", public=True),
    )


async def list_executors(call: Call) -> HTTPResponse:
    """Every executor that the leader knows."""
    Query(call.request, ())
    return json_response(await executors_view(call))


async def executors_view(call: Call) -> Json:
    """The list as it is answered."""
    reply = await call.ask(ListExecutors(caller=call.caller), ExecutorViews)
    return {"executors": [executor_view(executor) for executor in reply.executors]}


async def get_executor(call: Call, id: str) -> HTTPResponse:
    """One executor by its name."""
    Query(call.request, ())
    reply = await call.ask(ListExecutors(caller=call.caller), ExecutorViews)
    for executor in reply.executors:
        if executor.executor == id:
            return json_response(executor_view(executor))
    raise Refusal("there is no such executor", code="not_found", field="id")


async def list_judicators(call: Call) -> HTTPResponse:
    """Every registered judicator."""
    Query(call.request, ())
    reply = await call.ask(ListJudicators(caller=call.caller), JudicatorViews)
    return json_response({"judicators": [judicator_view(judicator) for judicator in reply.judicators]})


async def remove_judicator(call: Call, name: str) -> HTTPResponse:
    """Begin to remove a judicator; 409 if too few others live."""
    Query(call.request, ())
    await call.ask(RemoveJudicator(name=name, caller=call.caller), JudicatorRemoval)
    return json_response({"name": name, "leaving": True}, status=202)


async def get_cluster(call: Call) -> HTTPResponse:
    """Who leads, under which epoch, whether the cluster has a secret (P17), and how many more of its
    judicators it can lose."""
    Query(call.request, ())
    return json_response(await cluster_view(call))


async def cluster_view(call: Call) -> Json:
    """The cluster as it is answered."""
    reply = await call.ask(ListJudicators(caller=call.caller), JudicatorViews)
    pong = await call.ask(Ping(caller=call.caller), Pong)
    return {
        "leader": pong.leader or None,
        "epoch": {"generation": reply.epoch.generation, "number": reply.epoch.number},
        "security": "secured" if pong.secured else "open",
        "ready": pong.ready,
        "survives": _survives(reply.judicators),
        "judicators": [judicator_view(judicator) for judicator in reply.judicators],
    }


def _survives(judicators: Sequence[JudicatorView]) -> int:
    """By etcd's majority and by the replica set's, whichever is less: in that one a mongod counts when it
    votes, which it does some time after it was started, and serves when it has the data."""
    live = sum(one.live for one in judicators)
    voters = [one for one in judicators if one.voting]
    able = sum(one.live and one.replica_state in (PRIMARY, SECONDARY) for one in voters)
    return max(0, min(survivable(len(judicators), live), survivable(len(voters), able)))


async def healthz(call: Call) -> HTTPResponse:
    """This process answers."""
    return json_response({"ok": True})


async def readyz(call: Call) -> HTTPResponse:
    """A judicator answers that it can accept tasks; 503 otherwise."""
    pong = await call.ask(Ping(caller=call.caller), Pong, timeout_s=READY_TIMEOUT_S)
    if not pong.ready:
        raise Unavailable("the judicators are not ready to accept tasks yet")
    return json_response({"ready": True})


async def version(call: Call) -> HTTPResponse:
    """The gateway's version."""
    return json_response({"version": __version__})
