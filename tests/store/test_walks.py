"""Searches that no index answers: page by page they find what they should, and look at little for each."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from store.samples import task, task_id
from store.test_mongo import profiled

from khala.core.commands import SearchTasks
from khala.core.task import State, Task
from khala.store.memory import MemoryStore
from khala.store.mongo.store import MongoStore

TASKS = 120
QUERIES = [
    {"name_prefix": "a"},
    {"name_prefix": "none"},
    {"label": "k=v", "states": (State.PENDING, State.FAILED)},
    {"label": "k", "owner": "me"},
    {"executor": "e1", "user": 1},
    {"user": 1, "states": (State.FAILED,)},
    {"user": 1, "states": (State.RUNNING,)},
    {"name_prefix": "b", "created_after": 3.0, "created_before": 8.0},
    {"name_prefix": "a", "owner": "you", "user": 2},
]


def some(number: int, draw: random.Random) -> Task:
    made = task(
        number,
        created_at=float(draw.randrange(10)),
        name=draw.choice("ab"),
        labels=draw.choice([{}, {"k": "v"}, {"k": "w"}]),
        user=draw.randrange(3),
    )
    state = draw.choice([State.PENDING, State.RUNNING, State.FAILED])
    control = replace(made.control, state=state, executor=draw.choice(["", "e1"]))
    return replace(made, owner=draw.choice(["me", "you"]), control=control)


@pytest.fixture
def stores(mongo_store: MongoStore) -> tuple[MongoStore, MemoryStore]:
    memory = MemoryStore()
    memory.prepare()
    draw = random.Random(3)
    tasks = [some(number, draw) for number in range(TASKS)]
    for store in (mongo_store, memory):
        store.insert(tasks)
        store.purge(task_id(5), 1.0)
    return mongo_store, memory


def followed(store: Any, query: SearchTasks) -> list[str]:
    found: list[str] = []
    for _ in range(2 * TASKS):
        page = store.search(query)
        found += [each.id for each in page.tasks]
        if not page.next_page_token:
            return found
        query = replace(query, page_token=page.next_page_token)
    raise AssertionError("it never ends")


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("wanted", QUERIES, ids=str)
def test_page_by_page_it_finds_all_once_in_order(
    stores: tuple[MongoStore, MemoryStore], wanted: dict[str, Any], oldest_first: bool
) -> None:
    mongo, memory = stores
    query = SearchTasks(**wanted, oldest_first=oldest_first, limit=4)
    expected = followed(memory, query)
    for most in (1, 7, TASKS, 10_000):
        mongo.looks_at_most = most
        assert followed(mongo, query) == expected


@pytest.mark.parametrize("wanted", QUERIES, ids=str)
def test_a_page_looks_at_few(stores: tuple[MongoStore, MemoryStore], wanted: dict[str, Any]) -> None:
    mongo, _ = stores
    mongo.looks_at_most = 10
    seen = profiled(
        mongo, lambda: mongo.search(SearchTasks(**wanted, limit=50)), {"ns": {"$regex": "tasks$"}}
    )
    assert seen and all(each["docsExamined"] <= 10 for each in seen), seen
