"""Which servers the control plane should have, decided one step at a time (P19). Pure.

The replica set and the etcd cluster follow the *registered* judicators. The leader looks at what is
registered and at what there is, takes the one next step, and looks again: so every step starts from
the truth, a step that failed is taken again, and no two voting changes are ever under way at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_VOTERS = 7
"""MongoDB lets no more members of a replica set vote; further ones hold data and do not count."""
CAUGHT_UP_S = 5.0
"""A member that lags less than this gets its vote: commits would otherwise wait for it."""
PRIMARY, SECONDARY = "primary", "secondary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A judicator. `registered`: it belongs to the cluster (else it only lives); `leaving`: it is being
    removed; `stopping`: it was told to stop; `missing_s` is for how long it has not been live; `mongod`
    its member's host:port."""

    name: str
    mongod: str = ""
    registered: bool = True
    live: bool = True
    leaving: bool = False
    stopping: bool = False
    missing_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMember:
    """A member of the replica set as its primary sees it; `lag_s` is how far behind the newest it is, and
    `settled` whether a majority has the configuration that says who votes."""

    host: str
    voting: bool = True
    settled: bool = True
    state: str = SECONDARY
    healthy: bool = True
    lag_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AddMember:
    """Add the mongod at `host` without a vote: it copies the data first."""

    host: str


@dataclass(frozen=True, slots=True)
class GiveVote:
    """The member at `host` has the data: let it vote, and be elected."""

    host: str


@dataclass(frozen=True, slots=True)
class StepDown:
    """The primary is to be removed: let another be elected first."""

    host: str


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Take the member at `host` out of the replica set."""

    host: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is left of this judicator in the replica set: end its part in etcd, and its registration."""

    judicator: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """This judicator has been away for too long: begin to remove it."""

    judicator: str


@dataclass(frozen=True, slots=True)
class Hold:
    """There is something to do, and `why` it cannot be done now."""

    why: str


Step = AddMember | GiveVote | StepDown | RemoveMember | Forget | GiveUp | Hold


def majority(count: int) -> int:
    """How many of `count` servers decide."""
    return count // 2 + 1


def survivable(count: int, alive: int) -> int:
    """How many more of `count` servers may be lost, `alive` of which live; negative: too many are."""
    return alive - majority(count)


def next_step(peers: Sequence[Peer], members: Sequence[SetMember], *, give_up_after_s: float) -> Step | None:
    """The one next step towards a replica set (and an etcd cluster) of exactly the registered judicators.

    None: all is as it should be. `give_up_after_s` is after how long a missing judicator is removed,
    where that raises the number of losses survived; 0 is never.
    """
    if not any(peer.registered for peer in peers):
        return None
    hosts = {member.host for member in members}
    wanted = {peer.mongod for peer in peers if not peer.leaving}
    gone = next((peer for peer in peers if peer.leaving and peer.mongod not in hosts - wanted), None)
    if gone is not None:
        return Forget(gone.name)
    surplus = [member for member in members if member.host not in wanted]
    removal = _remove(surplus, members) if surplus else None
    if removal is not None and not isinstance(removal, Hold):
        return removal
    joining = [peer.mongod for peer in peers if peer.registered and peer.live and not peer.leaving]
    absent = next((host for host in joining if host and host not in hosts), None)
    if absent is not None:
        return AddMember(absent)
    registered = [peer for peer in peers if peer.registered]
    return _give_vote(members) or removal or _give_up(registered, give_up_after_s)


def _remove(surplus: Sequence[SetMember], members: Sequence[SetMember]) -> Step:
    """The first of these that can go: a secondary before the primary, and never so that too few vote."""
    why = ""
    for member in sorted(surplus, key=lambda one: (one.state == PRIMARY, one.host)):
        rest = [other for other in members if other.voting and other is not member]
        able = [other for other in rest if _can_lead(other)]
        if not able or (member.voting and len(able) < majority(len(rest))):
            why = why or f"without {member.host} too few members of the replica set would live"
        elif member.state == PRIMARY:
            return StepDown(member.host)
        else:
            return RemoveMember(member.host)
    return Hold(why)


def _give_vote(members: Sequence[SetMember]) -> Step | None:
    if sum(member.voting for member in members) >= MOST_VOTERS:
        return None
    copying = [member for member in members if not member.voting]
    ready = next((m for m in copying if _can_lead(m) and m.lag_s <= CAUGHT_UP_S), None)
    return GiveVote(ready.host) if ready is not None else None


def _can_lead(member: SetMember) -> bool:
    return member.healthy and member.state in (PRIMARY, SECONDARY)


def _give_up(peers: Sequence[Peer], after_s: float) -> Step | None:
    """Remove who has been missing the longest, if those missing too long can go and that helps: 2 of 5
    are, 1 of 3 is not (two would survive no loss either)."""
    alive = sum(peer.live for peer in peers)
    late = [peer for peer in peers if after_s and not peer.live and peer.missing_s >= after_s]
    now = survivable(len(peers), alive)
    helps = any(survivable(len(peers) - removed, alive) > now for removed in range(1, len(late) + 1))
    return GiveUp(max(late, key=lambda peer: peer.missing_s).name) if helps and now >= 0 else None


def why_stay(name: str, peers: Sequence[Peer]) -> str:
    """Why the judicator `name`, which was told to stop, stays a member of the cluster; empty: it leaves.

    Those that are told to stop at the same time count as going: a whole cluster that is stopped stays
    whole, and each of its members comes back to its data.
    """
    registered = [peer for peer in peers if peer.registered]
    if not any(peer.name == name for peer in registered):
        return "it is not registered"
    rest = [p for p in registered if p.name != name and not p.leaving and not p.stopping]
    if not rest:
        return "no other judicator stays"
    alive = sum(peer.live for peer in rest)
    if alive < majority(len(rest)):
        return f"only {alive} of the other {len(rest)} judicators live"
    return ""
