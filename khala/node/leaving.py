"""How a judicator that is told to stop leaves its cluster, or why it stays a member of it.

    SIGTERM ─► says that it stops ─► sees who else does ─► the rest is no majority: stays, and ends
                                                       └─► leads no more ─► marks itself as leaving ─►
    the leader takes it out of the replica set, of etcd and of the register ─► ends

Runs in a thread of its own, so that a second signal ends the node at once; the leader then completes
what was begun.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from khala.actors.replica_set import STOPPING, peers_of
from khala.coordination.interface import Coordination, Member, Registration
from khala.core.membership import why_stay
from khala.errors import KhalaError
from khala.node.known_judicators import KnownJudicators

GATHER_S = 1.0
"""Within this time all those are told to stop who are stopped together."""
LOOK_EVERY_S = 0.1


class Leaving:
    """One judicator's way out. `ended` is called once, when the node may end: when the leader has removed
    this judicator, or `within_s` after it was asked to."""

    def __init__(
        self,
        coordination: Coordination,
        member: Member,
        registration: Registration,
        known: KnownJudicators,
        ended: Callable[[], None],
        *,
        within_s: float,
    ) -> None:
        self._coordination = coordination
        self._member = member
        self._registration = registration
        self._known = known
        self._ended = ended
        self._over = False
        self._within_s = within_s
        self._log = structlog.get_logger().bind(node=member.name)

    def begin(self) -> None:
        """Leave, if that does no harm; does not block."""
        self._over = True
        threading.Thread(target=self._run, name="leaving", daemon=True).start()

    def was_removed(self) -> None:
        """The cluster has removed this judicator: it remembers that, and ends."""
        if not self._over:
            self._over = True
            self._log.warning("this judicator was removed from the cluster: it ends")
            self._known.note_left(left=True)
            self._ended()

    def _run(self) -> None:
        try:
            self._leave()
        except (KhalaError, OSError) as why:
            self._log.warning("this judicator stays a member", reason=str(why))
        self._ended()

    def _leave(self) -> None:
        name = self._member.name
        details = {**self._member.details, STOPPING: "yes"}
        self._coordination.update(replace(self._member, details=details))
        time.sleep(GATHER_S)
        view = self._coordination.view()
        why = why_stay(name, peers_of(view))
        if why or not view.connected:
            self._log.warning("this judicator stays a member", reason=why or "etcd does not answer")
            return
        self._log.warning("leaving the cluster")
        self._coordination.resign()
        self._coordination.register_judicator(name, replace(self._registration, leaving=True))
        deadline = time.monotonic() + self._within_s
        while time.monotonic() < deadline:
            view = self._coordination.view()
            if view.connected and name not in view.registered:
                self._known.note_left(left=True)
                self._log.warning("left the cluster")
                return
            time.sleep(LOOK_EVERY_S)
        self._log.warning("not removed yet: the leader goes on with it")
