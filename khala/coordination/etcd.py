"""Membership and leadership in etcd.

One thread owns the connection, renews the lease, lists the keys and calls the listener; the others
only leave wishes and wait for answers. A watch is a doorbell: it brings the next listing forward.
The listing is the truth, and is made at least every `relist_s` seconds. The library's watch has a
thread of its own, which rings and does nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace

from khala.coordination.etcd_client import EtcdClient
from khala.coordination.etcd_keys import PREFIX, encode_registration, judicator_key, shared_key, view_of
from khala.coordination.etcd_session import EtcdSession
from khala.coordination.etcd_settings import EtcdSettings, address_of
from khala.coordination.interface import ClusterView, Listener, Member, Registration
from khala.errors import ConfigurationError, Fault, KhalaError, OutcomeUnknown, Unavailable

_UNWATCHED_RELIST_S = 0.25
_SHORTEST_RELIST_S = 0.05
_KEYS_LISTED_PER_S = 2000  # a large cluster lists less often: joins of a thousand nodes come as a burst


def boottime() -> float:
    """CLOCK_BOOTTIME in seconds: it goes on while the machine sleeps, as the lease does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class EtcdCoordination:
    """The contract of `interface.Coordination`, kept with etcd."""

    def __init__(self, settings: EtcdSettings, *, clock: Callable[[], float] = boottime) -> None:
        self._settings = settings
        self._clock = clock
        self._addresses = settings.addresses()  # those given, then those of the registered judicators
        self._session = EtcdSession(settings.lease_ttl_s, clock)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._started: Future[None] = Future()
        self._ending = False
        self._withdraw = False
        # wishes, under the lock
        self._member: Member | None = None
        self._listener: Listener | None = None
        self._wants_to_lead = False
        self._resignations = 0
        self._asked: deque[tuple[Callable[[EtcdClient], object], Future[object]]] = deque()
        # the thread's own, but for the doorbell `_hinted`, and what is read under the lock
        self._carried_out = 0  # of the resignations
        self._client: EtcdClient | None = None
        self._tried = 0
        self._failures = 0
        self._hinted = False
        self._listed_at = 0.0
        self._pause_s = 0.0
        self._view = ClusterView()
        self._leads_until = 0.0
        self._lease_until = 0.0
        self._last_error: KhalaError | None = None

    def start(self, member: Member, listener: Listener) -> None:
        if self._thread is not None:
            raise Fault("coordination was started twice")
        self._member, self._listener = member, listener
        self._thread = threading.Thread(target=self._run, name=f"coordination-{member.name}", daemon=True)
        self._thread.start()
        try:
            self._started.result(self._settings.start_timeout_s)
        except TimeoutError:
            self._end_start()
            where, why = ", ".join(self._settings.endpoints), self._last_error or "no answer"
            raise Unavailable(f"etcd cannot be used at {where}: {why}") from None
        except KhalaError:
            self._end_start()
            raise

    def _end_start(self) -> None:
        """A start that failed may be tried again."""
        self.close()
        self._thread, self._started = None, Future()
        self._ending = self._withdraw = False

    def update(self, member: Member) -> None:
        with self._lock:
            self._member = member
        self._ring()

    def register_judicator(self, name: str, registration: Registration) -> None:
        self._ask(lambda client: client.put({judicator_key(name): encode_registration(registration)}))

    def unregister_judicator(self, name: str) -> None:
        self._ask(lambda client: client.delete(judicator_key(name)))

    def shared(self, key: str, value: str) -> str:
        return str(self._ask(lambda client: client.put_if_absent(shared_key(key), value)))

    def campaign(self) -> None:
        with self._lock:
            self._wants_to_lead = True
        self._ring()

    def resign(self) -> None:
        with self._lock:
            self._wants_to_lead, self._leads_until = False, 0.0
            self._resignations += 1
        self._ring()

    def leads_until(self) -> float:
        with self._lock:
            return self._leads_until

    def lease_until(self) -> float:
        with self._lock:
            return self._lease_until

    def view(self) -> ClusterView:
        with self._lock:
            return self._view

    def close(self) -> None:
        self._withdraw = True
        self.abandon()

    def abandon(self) -> None:
        """End the thread and leave the lease to run out: to the others this is a crash."""
        self._ending = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._settings.call_timeout_s * 4 + 1.0)
        with self._lock:
            self._leads_until = self._lease_until = 0.0

    # From here on: the thread.

    def _run(self) -> None:
        try:
            while not self._ending:
                try:
                    self._round()
                    self._failures = 0
                except KhalaError as error:
                    self._has_failed(error)
                self._wake.wait(self._pause_s)
                self._wake.clear()
            self._leave()
        finally:  # also by a bug: this node then no longer leads, and says that it is cut off
            self._ending = True
            self._drop_client()
            self._refuse_asked(Unavailable("coordination is closed"))
            with self._lock:
                self._leads_until = self._lease_until = 0.0
                self._view = _cut_off(self._view)

    def _round(self) -> None:
        """Everything that is due now, on one connection; any error ends the round and the connection."""
        client = self._client
        if client is None:
            client = self._client = self._connect()
        elif self._clock() >= self._session.renewal_due_at() and self._session.renew(client):
            self._hinted = True
        self._note_leadership()
        self._answer_asked(client)
        if self._clock() >= self._listing_due_at(client):
            self._list(client)
        next_at = min(self._session.renewal_due_at(), self._listing_due_at(client))
        self._pause_s = max(0.0, next_at - self._clock())

    def _connect(self) -> EtcdClient:
        address = self._addresses[self._tried % len(self._addresses)]
        client = EtcdClient(address, secret=self._settings.secret, timeout_s=self._settings.call_timeout_s)
        try:
            self._session.renew(client)
            if not self._started.done():
                assert self._member is not None
                self._session.publish(client, self._member)
        except KhalaError:
            client.close()
            raise
        self._hinted = True
        return client

    def _list(self, client: EtcdClient) -> None:
        self._hinted = False
        with self._lock:
            member, wanted, resignations = self._member, self._wants_to_lead, self._resignations
        assert member is not None
        entries = client.read_below(PREFIX)
        self._listed_at = self._clock()
        give_up = resignations > self._carried_out
        if self._session.mend_membership(client, member, entries):
            self._hinted = True
        if self._session.mend_leadership(client, member.name, entries, wanted=wanted, give_up=give_up):
            self._hinted = True
        with self._lock:
            self._carried_out = resignations
        self._note_leadership()
        view = view_of(entries)
        self._learn_addresses(view)
        self._tell(view)
        if not self._started.done():
            self._started.set_result(None)
        if not client.watching:
            client.watch(PREFIX, self._ring)  # if it does not begin, listings come closer and try again
            if client.watching:
                self._hinted = True  # for what changed before it began

    def _learn_addresses(self, view: ClusterView) -> None:
        """Whoever was told of one judicator's etcd finds the others when that one is gone."""
        addresses = dict.fromkeys(self._settings.addresses())
        for registration in view.registered.values():
            with suppress(ConfigurationError):  # it has none, or not one that this version understands
                addresses[address_of(registration.etcd_client)] = None
        self._addresses = list(addresses)

    def _leave(self) -> None:
        if self._withdraw and self._client is not None:
            with suppress(KhalaError):  # the lease runs out by itself
                self._session.withdraw(self._client)

    def _listing_due_at(self, client: EtcdClient) -> float:
        if self._hinted:
            busy_s = len(self._view.members) / _KEYS_LISTED_PER_S
            return self._listed_at + max(_SHORTEST_RELIST_S, busy_s)
        return self._listed_at + (self._settings.relist_s if client.watching else _UNWATCHED_RELIST_S)

    def _note_leadership(self) -> None:
        with self._lock:
            given_up = not self._wants_to_lead or self._resignations > self._carried_out
            self._leads_until = 0.0 if given_up else self._session.leads_until()
            self._lease_until = self._session.lease_until()

    def _has_failed(self, error: KhalaError) -> None:
        """Try the next endpoint (or the only one again, once) at once; then the service counts as away."""
        self._drop_client()
        self._last_error = error
        self._tried += 1
        self._failures += 1
        self._pause_s = 0.0
        if isinstance(error, ConfigurationError) and not self._started.done():
            self._started.set_exception(error)
            self._ending = True
        if self._failures >= max(2, len(self._addresses)):
            self._pause_s = self._settings.retry_s
            self._refuse_asked(error)
            self._tell(_cut_off(self._view))

    def _tell(self, view: ClusterView) -> None:
        if view == self._view:
            return
        with self._lock:
            self._view = view
        if self._listener is not None:
            self._listener(view)

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # Calls of other threads, made by this one.

    def _ring(self) -> None:
        self._hinted = True
        self._wake.set()

    def _ask(self, call: Callable[[EtcdClient], object]) -> object:
        if self._thread is None or self._ending:
            raise Unavailable("coordination is not running")
        answer: Future[object] = Future()
        self._asked.append((call, answer))
        self._wake.set()
        try:
            return answer.result(self._settings.call_timeout_s * 4 + 1.0)
        except TimeoutError:
            raise OutcomeUnknown("etcd did not answer in time") from None

    def _answer_asked(self, client: EtcdClient) -> None:
        """In order. One that failed stays first in line for the next connection: all are idempotent."""
        while self._asked:
            call, answer = self._asked[0]
            result = call(client)
            self._asked.popleft()
            answer.set_result(result)

    def _refuse_asked(self, error: KhalaError) -> None:
        while self._asked:
            self._asked.popleft()[1].set_exception(error)


def _cut_off(view: ClusterView) -> ClusterView:
    return replace(view, connected=False)
