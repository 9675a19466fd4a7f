"""The same random operations on both implementations have the same answers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from store.samples import change, result, task, task_id

from khala.core.commands import SearchTasks
from khala.core.task import TERMINAL, Command, Epoch, ExitReason, InputFile, State, Task
from khala.errors import KhalaError
from khala.store.memory import MemoryStore
from khala.store.mongo.store import MongoStore

IDS = 25
STATES = list(State)


class Script:
    """Makes random calls; everything that it draws comes from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.epochs = [Epoch(1, 0)]

    def ids(self) -> list[str]:
        return [task_id(self.random.randrange(IDS)) for _ in range(self.random.randrange(6))]

    def new_task(self) -> Task:
        draw = self.random
        return task(
            draw.randrange(IDS),
            created_at=float(draw.randrange(5)),
            digest=draw.choice(["", "a", "b"]),
            user=draw.randrange(3),
            name=draw.choice(["", "a", "ab", "b"]),
            labels=draw.choice([{}, {"k": "v"}, {"k": "w", "l": ""}]),
            priority=draw.randrange(3),
            inputs=draw.choice([(), (InputFile(path="p", content=b"c"),)]),
            execute=Command(shell="true", stdin=draw.choice([b"", b"in"])),
        )

    def new_change(self, known: dict[str, Task]) -> Any:
        draw = self.random
        before = known.get(task_id(draw.randrange(IDS)), task(IDS + 1))
        if draw.random() < 0.2:  # a decision on old news
            before = replace(before, control=replace(before.control, rev=draw.randrange(1, 4)))
        state = draw.choice(STATES)
        return change(
            before,
            state,
            epoch=self.epochs[-1],
            want=draw.random() < 0.4,
            executor=draw.choice(["", "e1", "e2"]),
            exit_reason=ExitReason.EXITED if state in TERMINAL else None,
            result=result() if state in TERMINAL else None,
        )

    def maybe(self, *values: Any) -> Any:
        return self.random.choice((None, None, *values))

    def query(self, tokens: list[str]) -> SearchTasks:
        draw = self.random
        return SearchTasks(
            user=self.maybe(0, 1),
            states=tuple(draw.sample(STATES, draw.randrange(3))),
            name_prefix=self.maybe("a", "ab") or "",
            executor=self.maybe("e1") or "",
            exit_reason=self.maybe("exited") or "",
            label=self.maybe("k", "k=v", "l=") or "",
            created_after=self.maybe(1.0),
            created_before=self.maybe(4.0),
            oldest_first=draw.random() < 0.5,
            offset=draw.randrange(3),
            limit=draw.choice([0, 1, 3, 100]),
            page_token=draw.choice(["", *tokens]),
            count_total=draw.random() < 0.5,
            view=draw.choice(["minimal", "basic", "full", "odd"]),
        )


def answer_of(call: Callable[[], Any]) -> Any:
    """The answer, or the refusal, of a call, in a form that can be compared."""
    try:
        answer = call()
    except KhalaError as error:
        return type(error), str(error)
    return list(answer) if isinstance(answer, list | tuple) else answer


def step(script: Script, stores: list[Any], tokens: list[str]) -> str:
    """Make one random call on all stores; their answers must be equal."""
    draw = script.random
    known = {each.id: each for each in stores[0].read([task_id(number) for number in range(IDS)])}
    batch = [script.new_task() for _ in range(draw.randrange(4))]
    changes = [script.new_change(known) for _ in range(draw.randrange(5))]
    ids, at, limit = script.ids(), float(draw.randrange(9)), draw.randrange(5)
    query, epoch = script.query(tokens), draw.choice(script.epochs[-3:] + script.epochs[-1:] * 6)
    content = draw.choice([b"", b"x", b"y" * 3000])
    digest = hashlib.sha256(draw.choice([content, b"x"])).hexdigest()
    calls: dict[str, Callable[[Any], Any]] = {
        "insert": lambda store: store.insert(batch),
        "commit": lambda store: store.commit(epoch, changes),
        "take_epoch": lambda store: store.take_epoch("a"),
        "request_cancel": lambda store: store.request_cancel(ids, at),
        "read": lambda store: store.read(ids, query.view),
        "scan_queue_keys": lambda store: store.scan_queue_keys((at / 2, task_id(limit)), limit),
        "scan_queue": lambda store: store.scan_queue((at / 2, task_id(limit)), limit),
        "scan_active": lambda store: store.scan_active(task_id(limit), limit),
        "scan_cancels": lambda store: store.scan_cancels(limit),
        "search": lambda store: store.search(query),
        "counts": lambda store: dict(store.counts()),
        "put_file": lambda store: store.put_file(digest, len(content), iter([content])),
        "read_file": lambda store: store.read_file(digest, limit, 2),
        "has_file": lambda store: store.has_file(digest),
    }
    weights = [8, 12, 1, 3, 3, 3, 3, 4, 4, 10, 2, 1, 1, 1]
    name = draw.choices(list(calls), weights)[0]
    answers = [answer_of(lambda store=store: calls[name](store)) for store in stores]
    assert answers[0] == answers[1], name
    if name == "take_epoch":
        script.epochs.append(answers[0])
    if name == "search" and getattr(answers[0], "next_page_token", ""):
        tokens.append(answers[0].next_page_token)
    return name


@pytest.mark.parametrize("seed", range(5))
def test_random_operations_have_equal_answers(mongo_store: MongoStore, seed: int) -> None:
    memory = MemoryStore()
    memory.prepare()
    script, tokens = Script(seed), [""]
    script.epochs.append(memory.take_epoch("a"))
    assert mongo_store.take_epoch("a") == script.epochs[-1]
    names = {step(script, [memory, mongo_store], tokens) for _ in range(300)}
    assert len(names) == 14
    everything = [task_id(number) for number in range(IDS)]
    assert list(memory.read(everything)) == list(mongo_store.read(everything))
