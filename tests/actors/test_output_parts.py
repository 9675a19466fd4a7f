"""A batch of questions about outputs: what several of them need is read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from khala.actors.output_parts import PartReader
from khala.core.output import OutputChunk, StreamKey
from khala.core.task import Command, Task, TaskSpec
from khala.core.transfers import GetOutput
from khala.errors import Refusal
from khala.store.memory import MemoryStore

IDS = ("a" * 24, "b" * 24)


class CountingStore(MemoryStore):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def read(self, task_ids: Sequence[str], view: str = "full") -> Sequence[Task]:
        self.reads["tasks"] += 1
        return super().read(task_ids, view)

    def read_output(self, key: StreamKey, offset: int, length: int) -> bytes:
        self.reads["output"] += 1
        return super().read_output(key, offset, length)


@pytest.fixture
def store() -> CountingStore:
    store = CountingStore()
    store.prepare()
    store.insert([Task(id=id, spec=TaskSpec(execute=Command(shell="true")), created_at=1.0) for id in IDS])
    for id in IDS:
        store.put_output([OutputChunk(key=key(id), offset=0, data=id[0].encode() * 100)])
    store.reads.clear()
    return store


def key(id: str) -> StreamKey:
    return StreamKey(task_id=id, attempt=1, phase="execute", stream="stdout")


def get(id: str, offset: int = 0, length: int = 10) -> GetOutput:
    return GetOutput(task_id=id, attempt=1, phase="execute", stream="stdout", offset=offset, length=length)


def test_what_is_alike_in_a_row_is_read_once(store: CountingStore) -> None:
    asked = [*[get(IDS[0])] * 5, get(IDS[0], 95), *[get(IDS[1])] * 5]
    reader = PartReader(store, asked)
    parts = [reader.read(each) for each in asked]
    assert [part.data for part in parts] == [*[b"a" * 10] * 5, b"a" * 5, *[b"b" * 10] * 5]
    assert {part.size for part in parts} == {100}
    assert store.reads == {"tasks": 1, "output": 3}


def test_one_that_cannot_be_answered_is_nobody_elses_trouble(store: CountingStore) -> None:
    asked = [get(IDS[0]), get("f" * 24), get(IDS[1])]
    reader = PartReader(store, asked)
    assert reader.read(asked[0]).data == b"a" * 10
    with pytest.raises(Refusal, match="no task"):
        reader.read(asked[1])
    assert reader.read(asked[2]).data == b"b" * 10
