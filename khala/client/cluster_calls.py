"""Calls about the cluster and its people, as coroutines; both clients have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from khala.client.answers import Cluster, Drain, Executor, Judicator, NewToken, Stats, Token
from khala.client.task_calls import API
from khala.client.transport import Transport


class ClusterCalls:
    """Members, health, users, tokens."""

    _transport: Transport

    async def call(self, /, verb: str, path: str, **more: Any) -> Any:
        """Any call of the API, tried again as `Transport.call` does: the decoded answer."""
        return await self._transport.call(verb, path, **more)

    async def executors(self) -> Sequence[Executor]:
        """The executors that the leader knows."""
        answer: Sequence[Executor] = (await self._transport.call("GET", f"{API}/executors"))["executors"]
        return answer

    async def drain(self, executor: str) -> Drain:
        """Let an executor take nothing more; what runs goes on. Refusal `not_found`."""
        return await self._drain(executor, "drain")

    async def undrain(self, executor: str) -> Drain:
        """Let an executor take tasks again; Refusal `not_found`."""
        return await self._drain(executor, "undrain")

    async def _drain(self, executor: str, verb: str) -> Drain:
        path = f"{API}/executors/{quote(executor, safe='')}/{verb}"
        answer: Drain = await self._transport.call("POST", path)
        return answer

    async def judicators(self) -> Sequence[Judicator]:
        """The registered judicators, and who leads."""
        answer: Sequence[Judicator] = (await self._transport.call("GET", f"{API}/judicators"))["judicators"]
        return answer

    async def cluster(self) -> Cluster:
        """Leader, epoch, and how many more judicators it can lose."""
        answer: Cluster = await self._transport.call("GET", f"{API}/cluster")
        return answer

    async def remove_judicator(self, name: str) -> None:
        """Begin to take a judicator out of the cluster; Refusal `conflict` if too few others live."""
        await self._transport.call("DELETE", f"{API}/judicators/{quote(name, safe='')}")

    async def stats(self) -> Stats:
        """Counts of tasks per state."""
        answer: Stats = await self._transport.call("GET", f"{API}/stats")
        return answer

    async def create_user(self, name: str, role: str) -> Mapping[str, Any]:
        """Make a user; Refusal `conflict` if there is one of another role."""
        body = {"name": name, "role": role}
        answer: Mapping[str, Any] = await self._transport.call("POST", f"{API}/users", body=body)
        return answer

    async def create_token(self, name: str, *, user: str = "", expires_in_s: float | None = None) -> NewToken:
        """A new token, whose text is in `token` of this answer and nowhere else."""
        body = {"name": name, "user": user, "expires_in": expires_in_s}
        answer: NewToken = await self._transport.call("POST", f"{API}/tokens", body=body)
        return answer

    async def tokens(self, user: str = "") -> Sequence[Token]:
        """The caller's tokens; those of `user`, or everybody's, for an administrator."""
        query = {"user": user} if user else None
        answer: Sequence[Token] = (await self._transport.call("GET", f"{API}/tokens", query=query))["tokens"]
        return answer

    async def revoke_token(self, token_id: str) -> Token:
        """Take a token away; Refusal `not_found`."""
        answer: Token = await self._transport.call("DELETE", f"{API}/tokens/{token_id}")
        return answer

    async def version(self) -> Mapping[str, str]:
        """The gateway's version."""
        answer: Mapping[str, str] = await self._transport.call("GET", "/version")
        return answer

    async def ready(self) -> bool:
        """Can the cluster accept tasks now? Unavailable says why not."""
        await self._transport.call("GET", "/readyz")
        return True
