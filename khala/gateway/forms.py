"""HTML forms, both encodings, read piece by piece within bounds.

Runs on the event loop. Texts stay in memory (counted against the worker's allowance), files are
spooled. The first of several fields with one name counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from urllib.parse import parse_qsl

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from khala.errors import Refusal
from khala.gateway.exchange import Call
from khala.gateway.spools import Spool, Spooler

MAX_FIELDS = 64


class Form:
    """The fields of a form. Use as a context manager: leaving it removes the files."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._files: dict[str, Spool] = {}
        self._spoolers: list[Spooler] = []

    def text(self, name: str) -> str:
        """A text, with the line ends that HTTP made CRLF put back to LF; "" when absent."""
        return self._texts.get(name, "").replace("\r\n", "\n")

    def file(self, name: str) -> Spool | None:
        """A file that is not empty: browsers send an empty one when none was chosen."""
        spool = self._files.get(name)
        return spool if spool is not None and spool.size else None

    async def read(self, call: Call) -> None:
        """Take the request's body in; raises Refusal when it is no form, or too large."""
        kind = call.content_type()
        if kind == "multipart/form-data":
            await self._read_multipart(call)
        elif kind == "application/x-www-form-urlencoded":
            self._read_urlencoded(await call.body(call.settings.max_json_bytes))
        else:
            raise Refusal(
                "send a form: multipart/form-data or application/x-www-form-urlencoded",
                code="unsupported_media_type",
            )

    def __enter__(self) -> Form:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for spooler in self._spoolers:
            spooler.file.close()

    def _read_urlencoded(self, body: bytes) -> None:
        try:
            pairs = parse_qsl(
                body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
            )
        except ValueError:
            raise _malformed() from None
        for name, text in pairs:
            self._texts.setdefault(name, text)

    async def _read_multipart(self, call: Call) -> None:
        _, options = parse_options_header(str(call.request.headers.get("content-type", "")))
        segments = _Segments(self, call)
        with _form_errors():
            parser = PushMultipartParser(options.get("boundary", ""), max_segment_count=MAX_FIELDS)
            with parser:
                async for chunk in call.chunks(call.settings.max_upload_bytes):
                    for event in parser.parse(chunk):
                        segments.handle(event)
                    if parser.closed:
                        break

    def add_text(self, name: str, value: bytes) -> None:
        """A finished text field."""
        try:
            self._texts.setdefault(name, value.decode())
        except UnicodeDecodeError:
            raise Refusal("the texts of a form must be UTF-8", field=name[:64]) from None

    def new_spooler(self, call: Call) -> Spooler:
        """Where the next file is put down."""
        self._spoolers.append(Spooler(call.settings.spool_dir))
        return self._spoolers[-1]

    def add_file(self, name: str, spool: Spool) -> None:
        """A finished file field."""
        self._files.setdefault(name, spool)


class _Segments:
    """Sorts the parser's events into the form's fields."""

    def __init__(self, form: Form, call: Call) -> None:
        self._form = form
        self._call = call
        self._name = ""
        self._text = bytearray()
        self._spooler: Spooler | None = None
        self._text_bytes = 0

    def handle(self, event: MultipartSegment | bytearray | bytes | None) -> None:
        if isinstance(event, MultipartSegment):
            self._name = event.name
            self._spooler = None if event.filename is None else self._form.new_spooler(self._call)
            self._text = bytearray()
        elif event is None:
            self._finish()
        elif self._spooler is not None:
            self._spooler.write(bytes(event))
        else:
            self._call.hold(len(event))
            self._text_bytes += len(event)
            if self._text_bytes > self._call.settings.max_json_bytes:
                raise Refusal("the texts of the form are too large", code="too_large")
            self._text += event

    def _finish(self) -> None:
        if self._spooler is not None:
            self._form.add_file(self._name, self._spooler.finish())
        else:
            self._form.add_text(self._name, bytes(self._text))


@contextmanager
def _form_errors() -> Iterator[None]:
    try:
        yield
    except (MultipartError, UnicodeDecodeError, LookupError):
        raise _malformed() from None


def _malformed() -> Refusal:
    return Refusal("the form is malformed", code="malformed")
