"""The blocking client: every call of the API as a method that returns when it is done.

Thread-safe. Errors: `Refusal` when the request is wrong, `Unavailable` when the cluster cannot do it now.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from types import TracebackType

from khala.client import plain_wire
from khala.client.blocking import blocking, blocking_each, finish
from khala.client.calls import Calls
from khala.client.exchange import Wire
from khala.client.harvest import Harvest
from khala.client.task_calls import NotFinished
from khala.client.transport import Transport, checked_url
from khala.client.views import TaskView


class Client:
    """A connection to one gateway. `token` may be empty on a cluster that was started open.

    `patience_s` bounds how long a call is tried again when the gateway cannot be reached or asks to
    try later; `timeout_s` bounds one try.
    """

    def __init__(
        self, url: str, token: str = "", *, patience_s: float = 30.0, timeout_s: float = 30.0
    ) -> None:
        url = checked_url(url)
        self._calls = Calls(
            Transport(url, token, blocking_wire(url), patience_s=patience_s, timeout_s=timeout_s)
        )

    def close(self) -> None:
        """Release the connections."""
        finish(self._calls.close())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def as_completed(self, task_ids: Iterable[str], *, timeout_s: float | None = None) -> Iterator[TaskView]:
        """The tasks of these ids as each of them ends; NotFinished after `timeout_s` seconds.

        Refusal `not_found` for one that is not there.
        """
        wanted = dict.fromkeys(task_ids)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        harvest = Harvest(lambda task_id, wait_s: self.get(task_id, wait_s=wait_s))
        harvest.add(wanted)
        try:
            for number in range(len(wanted)):
                left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    seen = harvest.next(left_s)
                except queue.Empty:
                    raise NotFinished(
                        f"{len(wanted) - number} tasks are not finished after {timeout_s} s: wait longer"
                    ) from None
                if seen.failure is not None:
                    raise seen.failure
                if seen.task is not None:
                    yield seen.task
        finally:
            harvest.close()

    submit = blocking(Calls.submit)
    start = blocking(Calls.start)
    run = blocking(Calls.run)
    map = blocking_each(Calls.map)
    submit_many = blocking(Calls.submit_many)
    get = blocking(Calls.get)
    wait = blocking(Calls.wait)
    list = blocking(Calls.list)
    follow = blocking_each(Calls.follow)
    read_output = blocking_each(Calls.read_output)
    cancel = blocking(Calls.cancel)
    cancel_all = blocking(Calls.cancel_all)
    retry = blocking(Calls.retry)
    explain = blocking(Calls.explain)
    outputs = blocking(Calls.outputs)
    save_output = blocking(Calls.save_output)
    upload = blocking(Calls.upload)

    submit_job = blocking(Calls.submit_job)
    job = blocking(Calls.job)
    jobs = blocking(Calls.jobs)
    watch_job = blocking_each(Calls.watch_job)
    wait_job = blocking(Calls.wait_job)
    cancel_job = blocking(Calls.cancel_job)
    retry_job = blocking(Calls.retry_job)
    results = blocking_each(Calls.results)
    raw_results = blocking_each(Calls.raw_results)

    call = blocking(Calls.call)
    executors = blocking(Calls.executors)
    drain = blocking(Calls.drain)
    undrain = blocking(Calls.undrain)
    judicators = blocking(Calls.judicators)
    remove_judicator = blocking(Calls.remove_judicator)
    cluster = blocking(Calls.cluster)
    stats = blocking(Calls.stats)
    create_user = blocking(Calls.create_user)
    create_token = blocking(Calls.create_token)
    tokens = blocking(Calls.tokens)
    revoke_token = blocking(Calls.revoke_token)
    version = blocking(Calls.version)
    ready = blocking(Calls.ready)


def blocking_wire(url: str) -> Wire:
    """The quickest to load that reaches `url`."""
    if plain_wire.serves(url):
        return plain_wire.PlainWire(url)
    # 0.1 s to load; only TLS and proxies need it.
    from khala.client.httpx_wires import BlockingHttpxWire

    return BlockingHttpxWire(url)
