"""From futures to replies: what is repeated, for how long, and what is told in the end."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import Any

import pytest

from khala.core.commands import CountTasks, GetTasks, SubmitTasks, TaskCounts, TasksAccepted
from khala.core.transfers import FileStored, PutFileChunk
from khala.errors import OutcomeUnknown, Refusal, Unavailable
from khala.gateway.rpc import PatientJudicators

REPLY = TaskCounts(counts={})
CHUNK = PutFileChunk(upload_id="u", sha256="0" * 64, size=1, offset=0, data=b"x")


class ScriptedClient:
    """Answers each call with the next of `answers`; None never answers. The last one repeats."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.timeouts_s: list[float] = []
        self.closed = False

    def call(self, command: object, *, timeout_s: float = 10.0) -> Future[Any]:
        self.timeouts_s.append(timeout_s)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        future: Future[Any] = Future()
        if isinstance(answer, Exception):
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(answer)
        return future

    def close(self) -> None:
        self.closed = True


def ask(client: ScriptedClient, command: Any = CountTasks(), timeout_s: float = 60.0) -> Any:  # noqa: B008
    return asyncio.run(PatientJudicators(client, try_s=0.3).call(command, timeout_s=timeout_s))


@pytest.mark.parametrize("trouble", [Unavailable("no leader"), OutcomeUnknown("silence")])
@pytest.mark.parametrize(
    ("command", "reply"), [(CountTasks(), REPLY), (SubmitTasks(tasks=()), TasksAccepted(results=()))]
)
def test_idempotent_commands_are_repeated(trouble: Exception, command: Any, reply: Any) -> None:
    client = ScriptedClient(trouble, trouble, reply)
    assert ask(client, command) == reply
    assert len(client.timeouts_s) == 3


def test_a_refusal_is_final() -> None:
    client = ScriptedClient(Refusal("no", code="forbidden"), REPLY)
    with pytest.raises(Refusal, match="no"):
        ask(client)
    assert len(client.timeouts_s) == 1


def test_a_step_of_a_sequence_is_not_repeated() -> None:
    client = ScriptedClient(Unavailable("gone"), FileStored(sha256="0" * 64))
    with pytest.raises(Unavailable):
        ask(client, CHUNK)
    assert len(client.timeouts_s) == 1
    assert client.timeouts_s[0] > 1


def test_the_deadline_ends_the_tries() -> None:
    client = ScriptedClient(Unavailable("no leader", retry_after_s=7))
    began = time.monotonic()
    with pytest.raises(Unavailable) as told:
        ask(client, timeout_s=5.0)
    assert 3 < time.monotonic() - began < 25
    assert told.value.retry_after_s == 7
    assert len(client.timeouts_s) > 1


def test_a_doubt_once_raised_stays() -> None:
    """A submit that may have been stored is not made unstored by a later "nothing happened"."""
    client = ScriptedClient(OutcomeUnknown("silence"), Unavailable("no leader"))
    with pytest.raises(OutcomeUnknown, match="silence"):
        ask(client, SubmitTasks(tasks=()), timeout_s=0.3)


def test_one_silent_judicator_does_not_use_up_the_deadline() -> None:
    client = ScriptedClient(OutcomeUnknown("no answer within 0.3 s"), REPLY)
    assert ask(client) == REPLY
    assert client.timeouts_s[0] == pytest.approx(0.3)


def test_a_wait_gets_its_time_on_top() -> None:
    client = ScriptedClient(REPLY)
    ask(client, GetTasks(task_ids=(), wait_s=1.0))
    assert client.timeouts_s == [pytest.approx(1.3)]


def test_a_client_that_never_answers_is_given_up() -> None:
    with pytest.raises(OutcomeUnknown, match="no judicator answered"):
        ask(ScriptedClient(None), timeout_s=0.2)


def test_closing_closes_the_client() -> None:
    client = ScriptedClient(REPLY)
    PatientJudicators(client).close()
    assert client.closed
