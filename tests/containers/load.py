"""A client in a process of its own, which runs in the engine's network.

python -m containers.load URL submit NAME    submits tasks until its standard input ends; a printed line is
                                             the id of a task that was acknowledged
python -m containers.load URL list NAME      prints all tasks whose names begin so, as JSON
"""

from __future__ import annotations

import json
import os
import select
import sys
from itertools import count
from typing import Any

from khala.client import Client

PATIENCE_S = 240.0
EVERY_S = 0.1
COMMAND = "sleep 0.2; echo $KHALA_TASK_ID"


def submit(client: Client, name: str) -> None:
    """One task after the other, each with a name of its own."""
    task = {"execute": {"command": COMMAND}, "retry": {"max_attempts": 5}}
    numbers = count()
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        print(client.submit({"name": f"{name}-{next(numbers)}", **task}), flush=True)


def listed(client: Client, name: str) -> list[Any]:
    """All tasks whose names begin so, page by page."""
    found: list[Any] = []
    token = ""
    while True:
        page = client.list(page_size=100, page_token=token, name_prefix=name, view="full")
        found += [task.raw for task in page.tasks]
        token = page.next_page_token
        if not token:
            return found


if __name__ == "__main__":
    url, act, name = sys.argv[1:]
    with Client(url, os.environ.get("KHALA_TOKEN", ""), patience_s=PATIENCE_S) as client:
        if act == "submit":
            submit(client, name)
        else:
            print(json.dumps(listed(client, name)))
