"""Keeps the servers of the control plane equal to the registered judicators (P19).

Each judicator looks at every tick, and tells the front door. The leader alone acts: it takes the one
next step that `khala.core.membership` names, in the replica set, in the etcd cluster or in the
register. Its thread blocks in both services; nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import ReplicaSetChecked, Tick, ViewChanged, ViewWanted
from khala.bus.envelope import Envelope
from khala.coordination.interface import ClusterView, Coordination, EtcdAdmin, Registration
from khala.core.commands import JudicatorRemoval, NotAvailable, Refused, RemoveJudicator
from khala.core.membership import (
    AddMember,
    Forget,
    GiveUp,
    GiveVote,
    Hold,
    Peer,
    RemoveMember,
    SetMember,
    Step,
    StepDown,
    next_step,
    why_stay,
)
from khala.errors import ConfigurationError, Unavailable
from khala.store.interface import ReplicaSetAdmin

MONGOD = "mongod"
"""The detail in which a judicator publishes its mongod's host:port, as the replica set knows it."""
STOPPING = "stopping"
"""The detail in which a judicator publishes that it was told to stop."""
ABSENT = "absent"
ELECTED_WITHIN_S = 6.0
"""How long an election may take; writes wait for that long, and are refused at once after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What the actor works with: the replica set, the etcd cluster, the register, this node's own entry
    in that, and after how long a missing judicator is removed where that helps (0: never). `removed` is
    called, perhaps again, when this node no longer belongs to the cluster; it must not block."""

    replica_set: ReplicaSetAdmin
    etcd: EtcdAdmin
    coordination: Coordination
    own: Registration
    give_up_after_s: float
    removed: Callable[[], None]


class ReplicaSet(NodeActor):
    """Looks at every tick; a second or so apart is enough."""

    def __init__(self, stage: Stage, *, upkeep: Upkeep) -> None:
        super().__init__(stage, "replica-set")
        self._upkeep = upkeep
        self._view = ClusterView()
        self._missing_since: dict[str, float] = {}
        self._unwritable_since: float | None = None
        self._was_registered = False
        self._said = ""

    def begin(self) -> None:
        """Ask who is registered."""
        self.tell("membership", ViewWanted())

    def handle_view_changed(self, seen: ViewChanged, envelope: Envelope) -> None:
        """Who is registered now, and who of them lives."""
        view = self._view = seen.view
        now = self.now().boot_s
        missing = [name for name in view.registered if ("judicator", name) not in view.members]
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Look, tell, and act where it is this node's to act."""
        began = self.now().boot_s
        try:
            members: Sequence[SetMember] = self._upkeep.replica_set.members()
        except Unavailable as why:
            self._say(f"the replica set has no primary: {why}")
            if self._unwritable_since is None:
                self._unwritable_since = began
            lost = why.detail if self.now().boot_s - self._unwritable_since > ELECTED_WITHIN_S else ""
            self.tell("judicator", ReplicaSetChecked({}, frozenset(), writable=False, lost=lost))
        else:
            self._unwritable_since = None
            states, voters = states_of(members, self._view), voters_of(members, self._view)
            lags_s = lags_of(members, self._view)
            self.tell("judicator", ReplicaSetChecked(states, voters, writable=True, lags_s=lags_s))
            if self._view.connected and self._view.leader == self.stage.node:
                self._lead(members)
        if self._view.connected:
            self._see_to_own_registration()

    def handle_remove_judicator(self, remove: RemoveJudicator, envelope: Envelope) -> None:
        """Begin to remove a judicator, if the cluster can do without it."""
        registered = self._view.registered.get(remove.name)
        why = why_stay(remove.name, self._peers())
        answer: object = JudicatorRemoval(name=remove.name)
        if registered is None:
            answer = Refused(code="not_found", detail="there is no such judicator", field="name")
        elif why and not registered.leaving:
            answer = Refused(code="conflict", detail=f"{remove.name} cannot be removed: {why}", field="name")
        else:
            try:
                self._mark_leaving(remove.name)
            except Unavailable as failure:
                answer = NotAvailable(detail=failure.detail, outcome_unknown=True)
        self.reply(envelope, answer)

    # --- the leader's part -----------------------------------------------------------------------

    def _lead(self, members: Sequence[SetMember]) -> None:
        own = self._view.registered.get(self.stage.node)
        if own is not None and own.leaving:
            self._say("this judicator is being removed: another one leads")
            self._upkeep.coordination.resign()
            return
        step = next_step(self._peers(), members, give_up_after_s=self._upkeep.give_up_after_s)
        if step is None:
            self._say("")
        elif isinstance(step, Hold):
            self._say(step.why)
        else:
            self._say(_told(step))
            try:
                self._take(step)
            except (Unavailable, ConfigurationError) as why:
                self._say(f"{_told(step)}: not yet: {why}")
            else:
                self.tell(self.name, Tick())

    def _take(self, step: Step) -> None:
        upkeep = self._upkeep
        match step:
            case AddMember(host):
                upkeep.replica_set.add(host)
            case GiveVote(host):
                upkeep.replica_set.give_vote(host)
            case StepDown():
                upkeep.replica_set.step_down()
            case RemoveMember(host):
                upkeep.replica_set.remove(host)
            case GiveUp(name):
                self._mark_leaving(name)
            case Forget(name):
                upkeep.etcd.remove(self._view.registered[name].etcd or name)
                upkeep.coordination.unregister_judicator(name)

    def _mark_leaving(self, name: str) -> None:
        registration = self._view.registered[name]
        self._upkeep.coordination.register_judicator(name, replace(registration, leaving=True))

    # --- every judicator's part ------------------------------------------------------------------

    def _see_to_own_registration(self) -> None:
        """It vanishes when this node was removed, or when etcd lost it: etcd's members tell which."""
        if self.stage.node in self._view.registered:
            self._was_registered = True
        elif self._was_registered:
            upkeep = self._upkeep
            try:
                if upkeep.own.etcd in upkeep.etcd.names():
                    upkeep.coordination.register_judicator(self.stage.node, upkeep.own)
                else:
                    upkeep.removed()
            except Unavailable as why:
                self._say(f"this judicator is not registered any more: {why}")

    def _peers(self) -> list[Peer]:
        now = self.now().boot_s
        return peers_of(self._view, {name: now - since for name, since in self._missing_since.items()})

    def _say(self, what: str) -> None:
        """Log what is done or wrong, when it changes."""
        if what != self._said:
            self._said = what
            if what:
                self.log.warning("control plane", doing=what)
            else:
                self.log.info("control plane is as registered")


def peers_of(view: ClusterView, missing_s: Mapping[str, float] | None = None) -> list[Peer]:
    """The judicators of a view, registered or only live, as `khala.core.membership` wants them."""
    live = {member.name: member for member in view.members.values() if member.role == "judicator"}
    peers = []
    for name in sorted({*view.registered, *live}):
        registration, member = view.registered.get(name), live.get(name)
        details: Mapping[str, str] = member.details if member is not None else {}
        peers.append(
            Peer(
                name=name,
                mongod=details.get(MONGOD) or (registration.mongod if registration is not None else ""),
                registered=registration is not None,
                live=member is not None,
                leaving=registration is not None and registration.leaving,
                stopping=STOPPING in details,
                missing_s=(missing_s or {}).get(name, 0.0),
            )
        )
    return peers


def states_of(members: Sequence[SetMember], view: ClusterView) -> Mapping[str, str]:
    """The state of each registered judicator's member; `absent`: it has none."""
    by_host = {member.host: member.state for member in members}
    return {peer.name: by_host.get(peer.mongod, ABSENT) for peer in peers_of(view) if peer.registered}


def voters_of(members: Sequence[SetMember], view: ClusterView) -> frozenset[str]:
    """The registered judicators whose votes count, whichever members are lost."""
    hosts = {member.host for member in members if member.voting and member.settled}
    return frozenset(peer.name for peer in peers_of(view) if peer.registered and peer.mongod in hosts)


def lags_of(members: Sequence[SetMember], view: ClusterView) -> Mapping[str, float]:
    """By how many seconds each registered judicator's member is behind, of those that live."""
    by_host = {member.host: member.lag_s for member in members if member.healthy}
    peers = [peer for peer in peers_of(view) if peer.registered and peer.mongod in by_host]
    return {peer.name: by_host[peer.mongod] for peer in peers}


def _told(step: Step) -> str:
    match step:
        case AddMember(host):
            return f"adding {host} to the replica set, without a vote until it has the data"
        case GiveVote(host):
            return f"giving {host} its vote"
        case StepDown(host):
            return f"having another primary elected in place of {host}, which leaves"
        case RemoveMember(host):
            return f"removing {host} from the replica set"
        case Forget(name):
            return f"removing {name} from etcd and from the register"
        case GiveUp(name):
            return f"removing {name}, which has been missing for too long"
        case Hold(why):
            return why
