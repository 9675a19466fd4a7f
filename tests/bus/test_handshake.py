"""The hello, between pure connections: no socket, every lie refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from khala.bus.codec import Codec, MalformedMessage
from khala.bus.connection import (
    AcceptedConnection,
    Connection,
    DialledConnection,
    Event,
    HelloRefused,
    Opened,
)
from khala.bus.handshake import (
    Challenge,
    Hello,
    Identity,
    answer_challenge,
    check_hello,
    check_welcome,
    make_challenge,
    prove_hello,
)
from khala.bus.interface import Peer
from khala.errors import Refusal

CODEC = Codec()
SERVER = Identity(node="j1", role="judicator", incarnation="1", cluster_id="c", secret=b"s")
CLIENT = Identity(node="e1", role="executor", incarnation="2", cluster_id="c", secret=b"s")


def converse(server: Identity, client: Identity, expected: str = "j1") -> tuple[list[Event], list[Event]]:
    """Let two connections talk until neither has more to say; what each reported."""
    accepted = AcceptedConnection(CODEC, server, max_frame_bytes=10_000)
    dialled = DialledConnection(CODEC, client, max_frame_bytes=10_000, expected=expected)
    dialled.begin()
    at_server: list[Event] = []
    at_client: list[Event] = []
    while accepted.outgoing.size or dialled.outgoing.size:
        at_server += accepted.receive(drain(dialled))
        at_client += dialled.receive(drain(accepted))
    return at_server, at_client


def drain(connection: Connection) -> bytes:
    data = b"".join(connection.outgoing.first(1000))
    connection.outgoing.drop(len(data))
    return data


@pytest.mark.parametrize("secret", [b"s", None])
def test_both_learn_who_the_other_is(secret: bytes | None) -> None:
    at_server, at_client = converse(replace(SERVER, secret=secret), replace(CLIENT, secret=secret))
    assert at_server == [Opened(peer=Peer(node="e1", role="executor", incarnation="2"))]
    assert at_client == [Opened(peer=Peer(node="j1", role="judicator", incarnation="1"))]


def test_a_node_that_does_not_know_its_cluster_yet_is_let_in() -> None:
    assert converse(SERVER, replace(CLIENT, cluster_id=""))[0][0] == Opened(
        peer=Peer(node="e1", role="executor", incarnation="2")
    )


@pytest.mark.parametrize(
    ("server", "client", "expected", "says"),
    [
        (SERVER, replace(CLIENT, secret=b"x"), "j1", "secret is not this cluster's"),
        (SERVER, replace(CLIENT, secret=None), "j1", "this node has no secret"),
        (replace(SERVER, secret=None), CLIENT, "j1", "started without a secret"),
        (SERVER, replace(CLIENT, cluster_id="d"), "j1", "belongs to cluster"),
        (SERVER, replace(CLIENT, node="a/b"), "j1", "cannot name a node"),
        (SERVER, replace(CLIENT, role="king"), "j1", "cannot name a node"),
        (SERVER, CLIENT, "j2", "not 'j2'"),
    ],
)
def test_refusals_say_why(server: Identity, client: Identity, expected: str, says: str) -> None:
    _, at_client = converse(server, client, expected)
    (refused,) = at_client
    assert isinstance(refused, HelloRefused)
    assert says in refused.detail


def lie(change: Callable[[Hello], Hello]) -> None:
    challenge = make_challenge(SERVER)
    with pytest.raises(Refusal):
        check_hello(SERVER, challenge, change(answer_challenge(CLIENT, challenge)))


@pytest.mark.parametrize(
    "change",
    [
        {"node": "e2"},
        {"role": "judicator"},
        {"incarnation": "3"},
        {"cluster_id": ""},
        {"nonce": b"n" * 32},
        {"proof": b""},
        {"proof": b"x" * 32},
    ],
)
def test_every_claim_is_covered_by_the_proof(change: dict[str, Any]) -> None:
    lie(lambda hello: replace(hello, **change))


def test_a_proof_is_good_for_one_connection() -> None:
    hello = answer_challenge(CLIENT, make_challenge(SERVER))
    with pytest.raises(Refusal, match="secret is not"):
        check_hello(SERVER, make_challenge(SERVER), hello)


def test_a_server_without_the_secret_is_refused_and_nothing_can_be_reflected() -> None:
    challenge = make_challenge(SERVER)
    hello = answer_challenge(CLIENT, challenge)
    _, welcome = check_hello(SERVER, challenge, hello)
    for proof in (b"", hello.proof, prove_hello(b"x", challenge.nonce, hello)):
        with pytest.raises(Refusal, match="does not know"):
            check_welcome(CLIENT, challenge, hello, replace(welcome, proof=proof), "j1")
    with pytest.raises(Refusal, match="does not know"):
        check_welcome(CLIENT, challenge, hello, replace(welcome, incarnation="9"), "j1")
    assert check_welcome(CLIENT, challenge, hello, welcome, "j1").node == "j1"


def test_lengths_are_part_of_the_proof() -> None:
    hello = Hello(protocol_version=1, node="ab", role="c", incarnation="", nonce=b"")
    other = Hello(protocol_version=1, node="a", role="bc", incarnation="", nonce=b"")
    assert prove_hello(b"s", b"", hello) != prove_hello(b"s", b"", other)


@pytest.mark.parametrize(("step", "fits"), [(-1, True), (1, True), (-2, False), (2, False)])
def test_neighbours_one_version_apart_talk(step: int, fits: bool) -> None:
    challenge: Challenge = make_challenge(SERVER)
    newer = replace(challenge, protocol_version=challenge.protocol_version + step)
    if fits:
        assert answer_challenge(CLIENT, newer).node == "e1"
    else:
        with pytest.raises(Refusal, match="upgrade the older one"):
            answer_challenge(CLIENT, newer)


def test_short_nonces_are_refused() -> None:
    with pytest.raises(Refusal, match="too short"):
        answer_challenge(CLIENT, replace(make_challenge(SERVER), nonce=b"n"))


def test_a_second_hello_is_malformed() -> None:
    accepted = AcceptedConnection(CODEC, SERVER, max_frame_bytes=10_000)
    dialled = DialledConnection(CODEC, CLIENT, max_frame_bytes=10_000)
    dialled.begin()
    list(accepted.receive(drain(dialled)))
    list(dialled.receive(drain(accepted)))
    hello = drain(dialled)
    assert len(list(accepted.receive(hello))) == 1
    with pytest.raises(MalformedMessage, match="second hello"):
        list(accepted.receive(hello))
