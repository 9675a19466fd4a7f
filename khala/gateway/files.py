"""`/api/v1/files`: content-addressed files, streamed both ways and never whole in memory.

Runs on the event loop.
"""

from __future__ import annotations

from sanic.response import HTTPResponse

from khala.errors import Refusal
from khala.gateway.exchange import Call, json_response
from khala.gateway.file_downloads import send_file
from khala.gateway.queries import Query, file_id
from khala.gateway.routes import Route
from khala.gateway.spools import Spooler
from khala.gateway.uploads import put_file

# What curl and browsers say when nobody chose: then the body may well be a form around the file.
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def file_routes() -> tuple[Route, ...]:
    """Upload, download and (HEAD) test of files."""
    return (
        Route(method="POST", path="/api/v1/files", handler=upload_file, summary="Store a file"),
        Route(method="GET", path="/api/v1/files/<sha256>", handler=download_file, summary="Read a file"),
    )


async def upload_file(call: Call) -> HTTPResponse:
    """201 with the SHA-256 under which the body is stored; storing it again is harmless."""
    Query(call.request, ())
    if call.content_type() in _FORMS:
        raise Refusal("send the bare bytes as application/octet-stream", code="unsupported_media_type")
    spooler = Spooler(call.settings.spool_dir)
    with spooler.file:
        async for data in call.chunks(call.settings.max_upload_bytes):
            spooler.write(data)
        spool = spooler.finish()
        await put_file(call, spool.sha256, spool.size, spool.read_at)
    return json_response(
        {"sha256": spool.sha256, "size": spool.size}, 201, Location=f"/api/v1/files/{spool.sha256}"
    )


async def download_file(call: Call, sha256: str) -> HTTPResponse | None:
    """The bytes of a stored file, with Range; HEAD tells only whether it is there, and its size."""
    Query(call.request, ())
    return await send_file(call, file_id(sha256), sha256)
