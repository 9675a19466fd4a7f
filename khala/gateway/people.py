"""`/api/v1/users`, `/quotas` and `/audit`: people and rights. Runs on the event loop."""

from __future__ import annotations

from sanic.response import HTTPResponse

from khala.core.people import (
    AuditPage,
    DeleteUser,
    GetMe,
    ListAudit,
    ListUsers,
    Me,
    PutUser,
    Quota,
    UserView,
    UserViews,
)
from khala.errors import Refusal
from khala.gateway.exchange import Call, json_response
from khala.gateway.queries import Query
from khala.gateway.routes import Route
from khala.gateway.schemas import NewUserBody, QuotaBody, UserBody, decode
from khala.gateway.views import Json, quota_view, time_view, user_view

MAX_PAGE = 1000
_AUDIT_QUERY = ("user", "page_size", "page_token")


def people_routes() -> tuple[Route, ...]:
    """The routes about people."""
    users, one = "/api/v1/users", "/api/v1/users/<name>"
    return (
        Route(method="GET", path=users, handler=list_users, summary="List users"),
        Route(method="POST", path=users, handler=create_user, summary="Create a user", body=NewUserBody),
        Route(method="GET", path=one, handler=get_user, summary="Read a user"),
        Route(method="PUT", path=one, handler=put_user, summary="Create or change a user", body=UserBody),
        Route(method="DELETE", path=one, handler=delete_user, summary="Remove a user and their tokens"),
        Route(method="GET", path="/api/v1/quotas", handler=list_quotas, summary="Quotas and their use"),
        Route(
            method="PUT", path="/api/v1/quotas/<name>", handler=put_quota, summary="Set a user's quota",
            body=QuotaBody,
        ),
        Route(
            method="GET", path="/api/v1/audit", handler=list_audit, summary="Who did what",
            query=_AUDIT_QUERY,
        ),
    )  # fmt: skip


async def list_users(call: Call) -> HTTPResponse:
    """Every user by name, with quota and usage."""
    Query(call.request, ())
    found = await call.ask(ListUsers(caller=call.caller), UserViews)
    return json_response({"users": [user_view(user) for user in found.users]})


async def create_user(call: Call) -> HTTPResponse:
    """201; the same once more is harmless, and 409 if there is one who differs."""
    Query(call.request, ())
    body = decode(await call.json_body(), NewUserBody)
    put = PutUser(
        name=body.name, role=body.role, quota=_quota(body.quota), create_only=True, caller=call.caller
    )
    return json_response(await _put(call, put), 201, Location=f"/api/v1/users/{body.name}")


async def get_user(call: Call, name: str) -> HTTPResponse:
    """One user."""
    Query(call.request, ())
    return json_response(user_view(await _read(call, name)))


async def put_user(call: Call, name: str) -> HTTPResponse:
    """The user as it is afterwards; what the body leaves out stays, and a new user needs a role."""
    Query(call.request, ())
    body = decode(await call.json_body(), UserBody)
    quota = None if body.quota is None else _quota(body.quota)
    return json_response(
        await _put(call, PutUser(name=name, role=body.role or "", quota=quota, caller=call.caller))
    )


async def delete_user(call: Call, name: str) -> HTTPResponse:
    """The user who is gone, with all tokens; the tasks stay."""
    Query(call.request, ())
    (gone,) = (await call.ask(DeleteUser(name=name, caller=call.caller), UserViews)).users
    return json_response(user_view(gone))


async def list_quotas(call: Call) -> HTTPResponse:
    """Everybody's quota and usage for an administrator, one's own for others."""
    Query(call.request, ())
    me = (await call.ask(GetMe(caller=call.caller), Me)).user
    users: tuple[UserView, ...] = (me,)
    if me.role == "admin":
        users = (await call.ask(ListUsers(caller=call.caller), UserViews)).users
    return json_response({"quotas": [{"user": user.name, **quota_view(user)} for user in users]})


async def put_quota(call: Call, name: str) -> HTTPResponse:
    """Replace a user's quota."""
    Query(call.request, ())
    quota = _quota(decode(await call.json_body(), QuotaBody))
    changed = await _put(call, PutUser(name=name, quota=quota, caller=call.caller))
    return json_response({"user": name, "quota": changed["quota"], "usage": changed["usage"]})


async def list_audit(call: Call) -> HTTPResponse:
    """The record, newest first."""
    query = Query(call.request, _AUDIT_QUERY)
    command = ListAudit(
        user=query.text("user"),
        limit=query.integer("page_size", 1, MAX_PAGE) or 100,
        page_token=query.text("page_token"),
        caller=call.caller,
    )
    page = await call.ask(command, AuditPage)
    entries = [
        {
            "at": time_view(entry.at),
            "user": entry.user,
            "token": entry.token or None,
            "action": entry.action,
            "target": entry.target,
            "detail": entry.detail,
        }
        for entry in page.entries
    ]
    return json_response({"entries": entries, "next_page_token": page.next_page_token or None})


async def _read(call: Call, name: str) -> UserView:
    found = (await call.ask(ListUsers(name=name, caller=call.caller), UserViews)).users if name else ()
    if not found:
        raise Refusal(f"there is no user {name!r}", code="not_found", field="name")
    return found[0]


async def _put(call: Call, put: PutUser) -> Json:
    (user,) = (await call.ask(put, UserViews)).users
    return user_view(user)


def _quota(body: QuotaBody) -> Quota:
    return Quota(queued=body.queued, running=body.running, stored_bytes=body.stored_bytes)
