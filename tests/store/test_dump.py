"""A backup of a real MongoDB: everything that is in it, as of one moment, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from store.mongod import Mongod
from store.replica_sets import ReplicaSetOf, ask
from store.samples import assign, rich_task, task, task_id
from wait import wait_until

from khala.core.instant import Instant
from khala.core.task import Epoch
from khala.errors import ConfigurationError, Unavailable
from khala.store.archive import ArchiveReader, ArchiveWriter, documents_in
from khala.store.mongo.client import MongoSettings
from khala.store.mongo.documents import task_of
from khala.store.mongo.dump import dump
from khala.store.mongo.history import HistoryWindow
from khala.store.mongo.store import MongoStore

AT = Instant(0.0, 1000.0)
PAD = b"p" * 60_000
"""Makes a task large enough that a collection takes many batches."""


class Backup:
    """What a dump wrote, by collection."""

    def __init__(
        self, settings: MongoSettings, progress: Callable[[int, int], None] = lambda done, total: None,
        **options: Any,
    ) -> None:  # fmt: skip
        file = io.BytesIO()
        archive = ArchiveWriter(file)
        dump(settings, archive, AT, progress, **options)
        archive.finish()
        file.seek(0)
        reader = ArchiveReader(file, "the backup", lambda done: None)
        self.header = reader.header
        self.documents: dict[str, list[dict[str, Any]]] = {}
        self.indexes: dict[str, list[str]] = {}
        for section, batches in reader.sections():
            found = [bson.decode(each) for batch in batches for each in documents_in(batch)]
            self.documents[section.name] = found
            self.indexes[section.name] = [index["name"] for index in section.indexes]


def padded(number: int) -> Any:
    return task(number, expected_output=PAD)


def test_everything_is_in_it_whatever_collection_it_lies_in(mongo_store: MongoStore) -> None:
    content = b"content of a file" * 100_000
    mongo_store.insert([rich_task(1)])
    mongo_store.put_file(hashlib.sha256(content).hexdigest(), len(content), iter([content]))
    mongo_store.create_first_token("t" * 64, "first", "admin")
    later = mongo_store._connection.collection("added_later")
    later.insert_many([{"_id": {"task": "a", "n": 1}}, {"_id": 7}, {"_id": "text"}])
    later.create_index("n", name="by_n")
    epoch = mongo_store.take_epoch("a")
    found = Backup(mongo_store._connection.settings)
    assert found.header == {
        "khala": found.header["khala"],
        "schema": 1,
        "cluster_id": mongo_store.cluster_id(),
        "generation": epoch.generation,
        "made_at": 1000.0,
    }
    assert next(iter(found.documents)) == "meta"
    assert [task_of(each) for each in found.documents["tasks"]] == [rich_task(1)]
    (file,) = found.documents["files.files"]
    chunks = sorted(found.documents["files.chunks"], key=lambda chunk: chunk["n"])
    assert file["length"] == len(content) and b"".join(chunk["data"] for chunk in chunks) == content
    assert found.documents["tokens"] == [{"_id": "t" * 64, "name": "first", "role": "admin"}]
    assert len(found.documents["added_later"]) == 3 and "by_n" in found.indexes["added_later"]
    assert {each["_id"] for each in found.documents["meta"]} == {"schema", "leader", "tokens"}


def test_a_database_that_is_no_store_and_a_wrong_secret_are_refused(mongod: Mongod) -> None:
    with pytest.raises(ConfigurationError, match="prepared"):
        Backup(mongod.settings(database="never_prepared"))
    wrong = MongoSettings(hosts=(mongod.address,), secret="another")
    with pytest.raises(ConfigurationError, match="secret"):
        Backup(wrong)


class Pairs:
    """Writes to two tasks at a time, far apart in their ids, so that each batch leaves them at equal revs."""

    def __init__(self, store: MongoStore, first: int, second: int) -> None:
        self.store = store
        self.ids = (task_id(first), task_id(second))
        self.batches = 0
        self._epoch: Epoch = store.take_epoch("a")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Pairs:
        self._thread.start()
        wait_until(lambda: self.batches > 2, what="the first batches")
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(120)

    def _write(self) -> None:
        while not self._stop.is_set():
            try:
                both = self.store.read(self.ids)
                self.store.commit(self._epoch, [assign(each, self._epoch) for each in both])
                self.batches += 1
            except Unavailable:
                self._stop.wait(0.05)

    def assert_equal_in(self, found: Backup) -> None:
        revs = {each["_id"]: each["rev"] for each in found.documents["tasks"]}
        assert revs[self.ids[0]] == revs[self.ids[1]] > 0


def fill(store: MongoStore, count: int) -> None:
    for first in range(0, count, 100):
        store.insert([padded(number) for number in range(first, first + 100)])


def test_it_is_of_one_moment_while_tasks_change(mongo_store: MongoStore) -> None:
    fill(mongo_store, 800)
    with Pairs(mongo_store, 0, 799) as pairs:
        steps: list[int] = []

        def slowly(done: int, total: int) -> None:
            steps.append(pairs.batches)
            wait_until(lambda: pairs.batches > steps[-1] + 3, what="more batches")

        found = Backup(mongo_store._connection.settings, slowly)
        assert len(steps) > 3
        pairs.assert_equal_in(found)
        assert len(found.documents["tasks"]) == 800


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[MongoStore]:
    """A store whose server forgets within three seconds how things were."""
    server = Mongod(tmp_path, parameters=("minSnapshotHistoryWindowInSeconds=3",))
    store = None
    try:
        server.start()
        server.initiate()
        store = MongoStore(server.settings())
        store.prepare()
        yield store
    finally:
        if store is not None:
            store.close()
        server.discard()


class Forgotten(HistoryWindow):
    """Lets go of the moment."""

    def hold(self) -> None:
        return


def hasty(*arguments: Any) -> HistoryWindow:
    """Holds from the first batch on, a few seconds at a time."""
    return HistoryWindow(*arguments, reserve_s=8, renew_s=0.0)


@pytest.mark.parametrize("held", [True, False])
def test_a_moment_older_than_the_server_remembers_is_kept(forgetful: MongoStore, held: bool) -> None:
    fill(forgetful, 1000)
    settings = forgetful._connection.settings
    with Pairs(forgetful, 0, 999) as pairs:
        began = now(forgetful)

        def slowly(done: int, total: int) -> None:
            age = now(forgetful) - began
            wait_until(lambda: now(forgetful) - began > age + 2, what="seconds later")

        if held:
            found = Backup(settings, slowly, history=hasty)
            assert now(forgetful) - began > 11, "longer than it held at first"
            pairs.assert_equal_in(found)
        else:
            with pytest.raises(Unavailable, match="begin it again"):
                Backup(settings, slowly, history=Forgotten)
    parameter = {"getParameter": 1, "minSnapshotHistoryWindowInSeconds": 1}
    value = forgetful._connection.client.admin.command(parameter)
    assert value["minSnapshotHistoryWindowInSeconds"] == (300 if held else 3)


def now(store: MongoStore) -> int:
    """The server's clock, in whole seconds, as its last write has it."""
    return int(store._connection.client.admin.command("hello")["lastWrite"]["opTime"]["ts"].time)


@pytest.mark.slow
def test_it_goes_on_with_another_member_when_the_primary_dies(tmp_path: Path) -> None:
    members = ReplicaSetOf(tmp_path)
    store = MongoStore(members.settings())
    try:
        store.prepare()
        fill(store, 600)
        with Pairs(store, 0, 599) as pairs:
            killed: list[str] = []

            def kill_once(done: int, total: int) -> None:
                if not killed and done > total / 3:
                    primary = members.primary()
                    killed.append(primary.address)
                    primary.stop(9)

            found = Backup(members.settings(), kill_once)
            assert killed
            pairs.assert_equal_in(found)
        assert [each["_id"] for each in found.documents["tasks"]] == [task_id(n) for n in range(600)]
        assert ask(members.primary(), "ping")["ok"]
    finally:
        store.close()
        members.discard()
