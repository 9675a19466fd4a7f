"""Stands in for `khala ROLE`: accepts connections where the role would, ends as the role would.

A file in the cluster's directory changes it: `broken-NAME` makes it exit with the code in the file,
`stubborn-NAME` makes it deaf to SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    role, *words = sys.argv[1:]
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    home = Path(flags["data-dir"]).parent
    name = flags["main-name"]
    if (home / f"broken-{name}").exists():
        print("this stand-in is broken")
        sys.exit(int((home / f"broken-{name}").read_text()))
    stubborn = (home / f"stubborn-{name}").exists()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if stubborn else lambda *_: os._exit(0))
    threading.Thread(target=_end_with, args=(int(flags["end-with-fd"]),), daemon=True).start()
    if role == "judicator":
        server = socket.create_server(("127.0.0.1", int(flags["main-listen-port"])))
        while True:
            server.accept()[0].close()
    if role == "gateway":
        ThreadingHTTPServer(("127.0.0.1", int(flags["uwsgi-port"])), _Gateway).serve_forever()
    threading.Event().wait()


def _end_with(descriptor: int) -> None:
    os.read(descriptor, 1)
    os._exit(0)


class _Gateway(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"executors": [{"id": f"executor-{n}", "slots": 1} for n in (1, 2)]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


main()
