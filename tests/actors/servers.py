"""The servers of the control plane, as the leader changes them: in memory, and obedient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from khala.core.membership import SetMember
from khala.errors import Unavailable


class Members:
    """A replica set whose members have the data at once, and do what they are told."""

    def __init__(self) -> None:
        self.now: list[SetMember] = []
        self.primary = True

    def members(self) -> Sequence[SetMember]:
        if not self.primary:
            raise Unavailable("no primary")
        return self.now

    def add(self, host: str) -> None:
        self.now = [*self.now, SetMember(host=host, voting=False)]

    def give_vote(self, host: str) -> None:
        self.now = [replace(member, voting=member.voting or member.host == host) for member in self.now]

    def step_down(self) -> None:
        able = next(m for m in self.now if m.voting and m.state == "secondary" and m.healthy)
        states = {member.host: "secondary" for member in self.now} | {able.host: "primary"}
        self.now = [replace(member, state=states[member.host]) for member in self.now]

    def remove(self, host: str) -> None:
        self.now = [member for member in self.now if member.host != host]


class EtcdServers:
    """The names of etcd's members."""

    def __init__(self) -> None:
        self.servers: list[str] = []

    def names(self) -> Sequence[str]:
        return self.servers

    def remove(self, name: str) -> bool:
        there = name in self.servers
        self.servers = [server for server in self.servers if server != name]
        return there
