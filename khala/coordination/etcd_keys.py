"""The keys Khala has in etcd, and how a listing of them becomes a view. Pure.

/khala/members/ROLE/NAME   a live node, JSON, under its lease
/khala/leader              the leading judicator's name, under its lease
/khala/judicators/NAME     a registered judicator, JSON: its addresses, and whether it is leaving (P19)
/khala/shared/KEY          a value that the whole cluster shares
/judicator/service/NAME    a live judicator's bus address, where KV2's programs look for it
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from khala.coordination.interface import ClusterView, Member, Registration

PREFIX = "/khala/"
KV2_PREFIX = "/judicator/"
LEADER = "/khala/leader"
_MEMBERS = "/khala/members/"
_JUDICATORS = "/khala/judicators/"
_SHARED = "/khala/shared/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key as etcd has it; `lease` is 0 for none, `revision` that of its last change."""

    key: str
    value: str
    lease: int
    revision: int


def member_key(member: Member) -> str:
    return f"{_MEMBERS}{member.role}/{member.name}"


def judicator_key(name: str) -> str:
    return _JUDICATORS + name


def shared_key(key: str) -> str:
    return _SHARED + key


def kv2_key(name: str) -> str:
    return f"{KV2_PREFIX}service/{name}"


def encode_member(member: Member) -> str:
    """A member's value: what its key does not say."""
    said = {
        "incarnation": member.incarnation,
        "address": member.address,
        "details": dict(member.details),
    }
    return json.dumps(said, sort_keys=True)


def decode_member(key: str, value: str) -> Member | None:
    """The member of a key below members, or None when it is not one that Khala wrote."""
    role, _, name = key.removeprefix(_MEMBERS).partition("/")
    try:
        said = json.loads(value)
        return Member(
            name=name,
            role=role,
            incarnation=str(said["incarnation"]),
            address=str(said["address"]),
            details={str(word): str(text) for word, text in said["details"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def encode_registration(registration: Registration) -> str:
    return json.dumps(asdict(registration), sort_keys=True)


def decode_registration(value: str) -> Registration:
    """What a registration's value says; one that is no JSON is a bus address."""
    try:
        said = json.loads(value)
        texts = {word: str(said.get(word, "")) for word in ("address", "mongod", "etcd", "etcd_client")}
        return Registration(**texts, leaving=bool(said.get("leaving")))
    except (ValueError, AttributeError):
        return Registration(address=value)


def view_of(entries: Iterable[Entry]) -> ClusterView:
    """What a whole listing of `PREFIX` says; strange keys are passed over."""
    members: dict[tuple[str, str], Member] = {}
    registered: dict[str, Registration] = {}
    leader = ""
    for entry in entries:
        if entry.key == LEADER:
            leader = entry.value
        elif entry.key.startswith(_JUDICATORS):
            registered[entry.key.removeprefix(_JUDICATORS)] = decode_registration(entry.value)
        elif entry.key.startswith(_MEMBERS):
            member = decode_member(entry.key, entry.value)
            if member is not None:
                members[member.role, member.name] = member
    return ClusterView(members=members, leader=leader, registered=registered, connected=True)
