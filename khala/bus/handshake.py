"""Who is at the other end: the hello, as pure values and functions (P16, P17).

Both sides prove with HMAC-SHA-256 (RFC 2104) that they know the cluster secret, over both nonces and
all that they claim, each under its own label, so that no proof can be sent back as another (no
reflection). On an open cluster proofs are empty. A secured and an open node refuse each other.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass, replace

from khala.bus.envelope import is_node_name
from khala.bus.gen.constants import PROTOCOL_VERSION
from khala.bus.interface import ROLES, Peer
from khala.errors import Refusal

NONCE_BYTES = 32
GIVE_SECRET = "give it the cluster's secret by KHALA_SECRET or --secret-file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The first thing that a server says of itself; `nonce` is fresh for each connection."""

    protocol_version: int
    cluster_id: str = ""
    nonce: bytes
    secured: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who dials, and proof that it knows the cluster secret."""

    protocol_version: int
    cluster_id: str = ""
    node: str
    role: str
    incarnation: str
    nonce: bytes
    proof: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Who answers, and its own proof."""

    node: str
    role: str
    proof: bytes = b""
    incarnation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What one side says of itself, and the secret by which it proves it (None: open cluster)."""

    node: str
    role: str
    incarnation: str
    cluster_id: str = ""
    secret: bytes | None = None


def _proof(secret: bytes | None, label: bytes, *parts: bytes | str) -> bytes:
    if secret is None:
        return b""
    digest = hmac.new(secret, digestmod="sha256")
    for part in (label, *parts):
        data = part.encode() if isinstance(part, str) else part
        digest.update(struct.pack("!I", len(data)) + data)
    return digest.digest()


def prove_hello(secret: bytes | None, server_nonce: bytes, hello: Hello) -> bytes:
    """The proof that belongs into `hello`; for programs that speak plain Thrift, too."""
    return _proof(
        secret, b"khala hello", server_nonce, hello.nonce, hello.node, hello.role, hello.incarnation,
        hello.cluster_id,
    )  # fmt: skip


def prove_welcome(secret: bytes | None, challenge: Challenge, client_nonce: bytes, welcome: Welcome) -> bytes:
    """The proof that belongs into `welcome`."""
    return _proof(
        secret, b"khala welcome", challenge.nonce, client_nonce, welcome.node, welcome.role,
        welcome.incarnation, challenge.cluster_id,
    )  # fmt: skip


def make_challenge(identity: Identity) -> Challenge:
    """A server's first words on a new connection."""
    return Challenge(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=identity.cluster_id,
        nonce=secrets.token_bytes(NONCE_BYTES),
        secured=identity.secret is not None,
    )


def answer_challenge(identity: Identity, challenge: Challenge) -> Hello:
    """A client's hello. Refusal when this server is not one to talk to."""
    _check_kinship(identity, challenge.protocol_version, challenge.cluster_id, "the server")
    if identity.secret is None and challenge.secured:
        raise Refusal(
            f"the server's cluster is secured and this node has no secret: {GIVE_SECRET}", code="unauthorized"
        )
    if identity.secret is not None and not challenge.secured:
        raise Refusal(
            "the server was started without a secret and this node has one: start it with the same secret",
            code="unauthorized",
        )
    if identity.secret is not None and len(challenge.nonce) < NONCE_BYTES:
        raise Refusal("the server's nonce is too short to be safe", code="unauthorized")
    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=identity.cluster_id,
        node=identity.node,
        role=identity.role,
        incarnation=identity.incarnation,
        nonce=secrets.token_bytes(NONCE_BYTES),
    )
    return replace(hello, proof=prove_hello(identity.secret, challenge.nonce, hello))


def check_hello(identity: Identity, challenge: Challenge, hello: Hello) -> tuple[Peer, Welcome]:
    """Who dialled, and the answer to it. Refusal when it is not to be let in."""
    _check_kinship(identity, hello.protocol_version, hello.cluster_id, "the caller")
    if identity.secret is not None:
        if not hello.proof:
            raise Refusal(
                f"this cluster is secured and the caller has no secret: {GIVE_SECRET}", code="unauthorized"
            )
        if len(hello.nonce) < NONCE_BYTES:
            raise Refusal(f"the caller's nonce is shorter than {NONCE_BYTES} bytes", code="unauthorized")
    elif hello.proof:
        raise Refusal(
            "this node was started without a secret and the caller has one: start it with the same secret",
            code="unauthorized",
        )
    if not hmac.compare_digest(hello.proof, prove_hello(identity.secret, challenge.nonce, hello)):
        raise Refusal(f"the caller's secret is not this cluster's: {GIVE_SECRET}", code="unauthorized")
    if not is_node_name(hello.node) or hello.role not in ROLES:
        raise Refusal(f"{hello.node!r} with role {hello.role!r} cannot name a node", code="invalid")
    welcome = Welcome(node=identity.node, role=identity.role, incarnation=identity.incarnation)
    proof = prove_welcome(identity.secret, challenge, hello.nonce, welcome)
    return Peer(node=hello.node, role=hello.role, incarnation=hello.incarnation), replace(
        welcome, proof=proof
    )


def check_welcome(
    identity: Identity, challenge: Challenge, hello: Hello, welcome: Welcome, expected: str
) -> Peer:
    """Who answered. Refusal when it does not know the secret, or is not `expected` (unless empty)."""
    if not hmac.compare_digest(
        welcome.proof, prove_welcome(identity.secret, challenge, hello.nonce, welcome)
    ):
        raise Refusal(f"the server does not know this cluster's secret: {GIVE_SECRET}", code="unauthorized")
    if not is_node_name(welcome.node) or (expected and welcome.node != expected):
        raise Refusal(
            f"the server there is {welcome.node!r}, not {expected!r}: correct its address", code="conflict"
        )
    return Peer(node=welcome.node, role=welcome.role, incarnation=welcome.incarnation)


def _check_kinship(identity: Identity, version: int, cluster_id: str, who: str) -> None:
    if abs(version - PROTOCOL_VERSION) > 1:
        raise Refusal(
            f"{who} speaks protocol {version}, this node {PROTOCOL_VERSION}: upgrade the older one",
            code="conflict",
        )
    if cluster_id and identity.cluster_id and cluster_id != identity.cluster_id:
        raise Refusal(
            f"{who} belongs to cluster {cluster_id!r}, this node to {identity.cluster_id!r}", code="conflict"
        )
