"""The public RPC: our client, a stock Thrift client, and a judicator actor that answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from bus.worlds import SECRET, Inbox, ThriftWorld
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TFramedTransport
from wait import wait_until

from khala.bus.bus import ThriftBus
from khala.bus.envelope import Envelope
from khala.bus.gen import Judicator, ttypes
from khala.bus.handshake import Hello, prove_hello
from khala.bus.rpc_client import RpcClient, RpcSettings
from khala.core import commands, transfers
from khala.core.task import Epoch, TaskSpec
from khala.errors import ConfigurationError, Fault, OutcomeUnknown, Refusal, Unavailable

PONG = commands.Pong(judicator="j1", version="1", ready=True, epoch=Epoch(1, 2))


def answer(bus: ThriftBus, reply: Callable[[Envelope], object]) -> Inbox:
    """Register an actor `judicator` that answers at once, and keeps what it was asked."""
    inbox = Inbox()

    def deliver(envelope: Envelope) -> None:
        inbox(envelope)
        bus.reply(envelope, reply(envelope))

    bus.register("judicator", deliver)
    return inbox


@pytest.fixture
def clients() -> Iterator[Callable[..., RpcClient]]:
    made: list[RpcClient] = []

    def make(*buses: ThriftBus, **settings: Any) -> RpcClient:
        addresses = [f"127.0.0.1:{bus.listen_port}" for bus in buses]
        client = RpcClient(
            RpcSettings(
                node="g1",
                incarnation="1",
                **{"secret": SECRET, "reconnect_min_s": 0.01, "connect_timeout_s": 30.0, **settings},
            ),
            lambda: addresses,
        )
        client.start()
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


def test_a_command_gets_its_reply(thrift_world: ThriftWorld, clients: Callable[..., RpcClient]) -> None:
    bus = thrift_world.bus("j1")
    inbox = answer(bus, lambda envelope: PONG)
    assert clients(bus).call(commands.Ping(caller=commands.Caller(token="t"))).result(60) == PONG
    (envelope,) = inbox.envelopes
    assert envelope.payload == commands.Ping(caller=commands.Caller(token="t"))
    role, node, _connection, _sequence, method = envelope.sender.split("/")[1:]
    assert (role, node, method) == ("client", "g1", "ping")
    assert envelope.destination == "j1/judicator"


def test_calls_are_answered_in_any_order_from_any_thread(
    thrift_world: ThriftWorld, clients: Callable[..., RpcClient]
) -> None:
    bus, inbox = thrift_world.bus("j1"), Inbox()
    bus.register("judicator", inbox)
    client = clients(bus)
    futures = [client.call(commands.GetTasks(task_ids=(str(number),))) for number in range(50)]
    wait_until(lambda: len(inbox.envelopes) == 50)
    assert bus.stats().rpc_in_flight == 50

    def reply() -> None:
        for envelope in reversed(inbox.envelopes):
            (number,) = envelope.payload.task_ids
            bus.reply(envelope, commands.Refused(code="not_found", detail=number))

    thread = threading.Thread(target=reply)
    thread.start()
    thread.join()
    for number, future in enumerate(futures):
        with pytest.raises(Refusal, match=f"^{number}$"):
            future.result(60)
    assert bus.stats().rpc_in_flight == 0


def test_errors_come_back_as_errors(thrift_world: ThriftWorld, clients: Callable[..., RpcClient]) -> None:
    bus = thrift_world.bus("j1")
    answers: list[object] = [
        commands.Refused(code="conflict", detail="no", field="id"),
        commands.NotAvailable(detail="later", retry_after_s=7.0),
        commands.NotAvailable(detail="who knows", outcome_unknown=True),
        commands.TaskCounts(counts={}),
    ]
    answer(bus, lambda envelope: answers.pop(0))
    client = clients(bus)
    refusal = client.call(commands.Ping()).exception(60)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.detail, refusal.field) == ("conflict", "no", "id")
    unavailable = client.call(commands.Ping()).exception(60)
    assert type(unavailable) is Unavailable
    assert unavailable.retry_after_s == 7.0
    assert isinstance(client.call(commands.Ping()).exception(60), OutcomeUnknown)
    wrong = client.call(commands.Ping()).exception(60)
    assert isinstance(wrong, Fault)
    assert "wrong reply" in str(wrong)


def test_nobody_at_home_is_not_available(
    thrift_world: ThriftWorld, clients: Callable[..., RpcClient]
) -> None:
    bus = thrift_world.bus("j1")
    client = clients(bus)
    assert type(client.call(commands.Ping()).exception(60)) is Unavailable

    def fail(envelope: Envelope) -> None:
        raise ZeroDivisionError

    bus.register("judicator", fail)
    assert type(client.call(commands.Ping()).exception(60)) is Unavailable
    assert bus.stats().rpc_in_flight == 0


def test_calls_in_flight_are_bounded_in_number_and_time(
    thrift_world: ThriftWorld, clients: Callable[..., RpcClient]
) -> None:
    bus, inbox = thrift_world.bus("j1", rpc_in_flight=2, rpc_timeout_s=3.0), Inbox()
    bus.register("judicator", inbox)
    client = clients(bus)
    futures = [client.call(commands.Ping()) for _ in range(3)]
    assert type(futures[2].exception(60)) is Unavailable
    assert bus.stats().rpc_refused == 1
    assert isinstance(futures[0].exception(60), OutcomeUnknown)
    assert isinstance(futures[1].exception(60), OutcomeUnknown)
    assert bus.stats().rpc_in_flight == 0
    bus.reply(inbox.envelopes[0], PONG)
    wait_until(lambda: bus.stats().rpc_dropped == 1)


def test_a_reply_is_given_once(thrift_world: ThriftWorld, clients: Callable[..., RpcClient]) -> None:
    bus = thrift_world.bus("j1")
    inbox = answer(bus, lambda envelope: PONG)
    client = clients(bus)
    assert client.call(commands.Ping()).result(60) == PONG
    bus.reply(inbox.envelopes[0], PONG)
    wait_until(lambda: bus.stats().rpc_dropped == 1)
    client.close()
    wait_until(lambda: bus.stats().connections == 0)
    assert not bus.reply(inbox.envelopes[0], PONG)
    assert not bus.send("rpc/x", PONG)
    assert not bus.send("rpc/client/g1/1/x/ping", PONG)
    assert bus.stats().rpc_dropped == 4


def test_a_call_that_was_sent_and_not_answered_is_unknown(
    thrift_world: ThriftWorld, clients: Callable[..., RpcClient]
) -> None:
    bus, inbox = thrift_world.bus("j1"), Inbox()
    bus.register("judicator", inbox)
    client = clients(bus)
    lost = client.call(commands.Ping(), timeout_s=60.0)
    wait_until(lambda: inbox.envelopes, what="a connection")
    assert isinstance(client.call(commands.Ping(), timeout_s=2.0).exception(60), OutcomeUnknown)
    bus.close(1.0)
    error = lost.exception(60)
    assert isinstance(error, OutcomeUnknown)
    assert "broke" in str(error)


def test_without_a_judicator_calls_fail_in_time(clients: Callable[..., RpcClient]) -> None:
    client = clients(connect_timeout_s=0.2)
    error = client.call(commands.Ping()).exception(60)
    assert type(error) is Unavailable
    assert "no address is known" in str(error)


def test_a_wrong_secret_says_so(thrift_world: ThriftWorld, clients: Callable[..., RpcClient]) -> None:
    client = clients(thrift_world.bus("j1"), secret=b"wrong", connect_timeout_s=5.0)
    assert "secret is not this cluster's" in str(client.call(commands.Ping()).exception(60))


def test_it_fails_over(thrift_world: ThriftWorld, clients: Callable[..., RpcClient]) -> None:
    j1, j2 = thrift_world.bus("j1"), thrift_world.bus("j2")
    for bus in (j1, j2):
        answer(bus, lambda envelope: commands.Pong(judicator=envelope.destination, version="", ready=True))
    client = clients(j1, j2)
    assert client.call(commands.Ping()).result(60).judicator == "j1/judicator"
    j1.close(1.0)
    wait_until(lambda: client.call(commands.Ping()).exception(60) is None, what="the other judicator")
    assert client.call(commands.Ping()).result(60).judicator == "j2/judicator"


def test_what_cannot_travel_is_refused_at_once(
    thrift_world: ThriftWorld, clients: Callable[..., RpcClient]
) -> None:
    client = clients(thrift_world.bus("j1"), max_frame_bytes=100_000)
    assert isinstance(client.call(commands.CancelTasks(task_ids=("\ud800",))).exception(60), Refusal)
    large = client.call(commands.CancelTasks(task_ids=("x" * 100_000,))).exception(60)
    assert isinstance(large, Refusal)
    assert large.code == "too_large"
    with pytest.raises(Fault, match="not a command"):
        client.call(PONG)
    with pytest.raises(ConfigurationError):
        RpcSettings(node="g1", incarnation="1", role="gateway")


def test_an_answer_that_is_too_large_is_refused_not_lost(
    thrift_world: ThriftWorld, clients: Callable[..., RpcClient]
) -> None:
    bus = thrift_world.bus("j1", max_frame_bytes=50_000)
    chunk = transfers.FileChunk(sha256="", size=0, offset=0, data=b"x" * 50_000)
    answer(bus, lambda envelope: chunk)
    error = clients(bus).call(transfers.GetFileChunk(sha256="", offset=0, length=1)).exception(60)
    assert isinstance(error, Refusal)
    assert error.code == "too_large"


def test_a_client_bounds_what_waits(thrift_world: ThriftWorld, clients: Callable[..., RpcClient]) -> None:
    bus, inbox = thrift_world.bus("j1"), Inbox()
    bus.register("judicator", inbox)
    client = clients(bus, in_flight=3)
    futures: list[Future[Any]] = [client.call(commands.Ping()) for _ in range(4)]
    assert type(futures[3].exception(60)) is Unavailable
    wait_until(lambda: len(inbox.envelopes) == 3)
    for envelope in inbox.envelopes:
        bus.reply(envelope, PONG)
    assert [future.result(60) for future in futures[:3]] == [PONG] * 3
    again = client.call(commands.Ping())
    wait_until(lambda: len(inbox.envelopes) == 4)
    bus.reply(inbox.envelopes[3], PONG)
    assert again.result(60) == PONG


def test_an_idle_client_stays_and_a_long_answer_is_waited_for(
    thrift_world: ThriftWorld, clients: Callable[..., RpcClient]
) -> None:
    bus, inbox = thrift_world.bus("j1", client_idle_timeout_s=10.0), Inbox()
    bus.register("judicator", inbox)
    client = clients(bus, idle_timeout_s=10.0, keep_alive_s=0.1)
    future = client.call(commands.Ping(), timeout_s=60.0)
    wait_until(lambda: inbox.envelopes)
    passed = threading.Event()
    assert not passed.wait(11.0)  # longer than both ends' patience
    bus.reply(inbox.envelopes[0], PONG)
    assert future.result(60) == PONG
    assert bus.stats().connections == 1


def test_a_closed_client_answers_at_once(
    thrift_world: ThriftWorld, clients: Callable[..., RpcClient]
) -> None:
    bus, inbox = thrift_world.bus("j1"), Inbox()
    bus.register("judicator", inbox)
    client = clients(bus)
    sent = client.call(commands.Ping())
    wait_until(lambda: inbox.envelopes)
    client.close()
    assert isinstance(sent.exception(60), OutcomeUnknown)
    assert type(client.call(commands.Ping()).exception(60)) is Unavailable


# --- a stock Thrift client ----------------------------------------------------------------------


@pytest.fixture
def stock(thrift_world: ThriftWorld) -> Iterator[tuple[ThriftBus, Judicator.Client]]:
    bus = thrift_world.bus("j1")
    transport = TFramedTransport(TSocket("127.0.0.1", bus.listen_port))
    transport.open()
    client = Judicator.Client(TBinaryProtocol(transport))
    yield bus, client
    transport.close()


def greet(client: Judicator.Client) -> ttypes.Welcome:
    challenge = client.challenge()
    hello = Hello(protocol_version=1, node="stock", role="client", incarnation="1", nonce=b"n" * 32)
    proof = prove_hello(SECRET, challenge.nonce, hello)
    return client.hello(
        ttypes.Hello(
            protocol_version=1,
            cluster_id="",
            node="stock",
            role="client",
            incarnation="1",
            nonce=b"n" * 32,
            proof=proof,
        )
    )


def test_a_stock_client_works(stock: tuple[ThriftBus, Judicator.Client]) -> None:
    bus, client = stock
    inbox = answer(
        bus,
        lambda envelope: commands.TasksAccepted(
            results=tuple(commands.TaskAccepted(task_id=task.id) for task in envelope.payload.tasks)  # type: ignore[attr-defined]
        ),
    )
    welcome = greet(client)
    assert (welcome.node, welcome.role) == ("j1", "judicator")
    spec = ttypes.TaskSpec(name="é", execute=ttypes.Command(shell="true"), labels={"a": "b"})
    accepted = client.submit(ttypes.SubmitTasks(tasks=[ttypes.NewTask(id="1" * 24, spec=spec)]))
    assert [result.task_id for result in accepted.results] == ["1" * 24]
    got = inbox.envelopes[0].payload.tasks[0].spec
    assert isinstance(got, TaskSpec)
    assert (got.name, got.labels, got.execute.shell) == ("é", {"a": "b"}, "true")
    assert got.resources == TaskSpec().resources


def test_a_stock_client_gets_declared_exceptions(stock: tuple[ThriftBus, Judicator.Client]) -> None:
    bus, client = stock
    greet(client)
    with pytest.raises(ttypes.NotAvailable):
        client.ping(ttypes.Ping())
    answer(bus, lambda envelope: commands.Refused(code="forbidden", detail="no"))
    with pytest.raises(ttypes.Refused) as refused:
        client.ping(ttypes.Ping())
    assert refused.value.code == "forbidden"
    answer(bus, lambda envelope: commands.TaskCounts(counts={}))
    with pytest.raises(TApplicationException, match="wrong reply to ping"):
        client.ping(ttypes.Ping())
    answer(bus, lambda envelope: PONG)
    assert client.ping(ttypes.Ping()).epoch.number == 2


def test_a_stock_client_with_a_wrong_proof_is_refused(stock: tuple[ThriftBus, Judicator.Client]) -> None:
    _, client = stock
    client.challenge()
    hello = ttypes.Hello(
        protocol_version=1, node="stock", role="client", incarnation="1", nonce=b"n" * 32, proof=b"p" * 32
    )
    with pytest.raises(ttypes.Refused) as refused:
        client.hello(hello)
    assert refused.value.code == "unauthorized"


def test_an_unknown_method_is_answered(stock: tuple[ThriftBus, Judicator.Client]) -> None:
    bus, client = stock
    greet(client)
    protocol = client._oprot
    protocol.writeMessageBegin("launch_missiles", 1, 9)
    protocol.writeStructBegin("")
    protocol.writeFieldStop()
    protocol.trans.flush()
    assert protocol.readMessageBegin() == ("launch_missiles", 3, 9)
    failure = TApplicationException()
    failure.read(protocol)
    assert failure.type == TApplicationException.UNKNOWN_METHOD
    answer(bus, lambda envelope: PONG)
    assert client.ping(ttypes.Ping()).judicator == "j1"
