"""The contract of files, tokens and the store as a whole."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from khala.errors import Refusal


def pieces(content: bytes, size: int = 700_000) -> Iterator[bytes]:
    return (content[begin : begin + size] for begin in range(0, len(content), size))


def put(store: Any, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    store.put_file(digest, len(content), pieces(content))
    return digest


def test_a_file_is_read_back_in_ranges(store: Any) -> None:
    content = bytes(range(256)) * 10_000  # 2.4 MiB: three chunks
    digest = put(store, content)
    assert store.has_file(digest)
    for offset, length in [
        (0, 10),
        (0, 1 << 20),
        (1_048_570, 20),
        (0, 1 << 22),
        (len(content) - 3, 100),
        (5, 0),
    ]:
        assert store.read_file(digest, offset, length) == (len(content), content[offset : offset + length])
    assert store.read_file(digest, len(content) + 5, 10) == (len(content), b"")


def test_an_empty_file_is_a_file(store: Any) -> None:
    digest = put(store, b"")
    assert store.read_file(digest, 0, 10) == (0, b"")


def test_storing_a_file_again_is_harmless(store: Any) -> None:
    digest = put(store, b"content")
    assert put(store, b"content") == digest
    assert store.read_file(digest, 0, 10) == (7, b"content")
    with pytest.raises(Refusal):
        store.put_file(digest, 7, iter([b"CONTENT"]))


def test_uploading_the_same_file_at_once_stores_it_once(store: Any) -> None:
    content = b"z" * 3_000_000
    threads = [threading.Thread(target=put, args=(store, content)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert store.read_file(hashlib.sha256(content).hexdigest(), 0, 1) == (3_000_000, b"z")


@pytest.mark.parametrize(
    ("size", "chunks"), [(7, [b"CONTENT"]), (7, [b"cont"]), (7, [b"content", b"more"]), (6, [b"content"])]
)
def test_a_file_that_is_not_what_was_announced_is_never_visible(
    store: Any, size: int, chunks: list[bytes]
) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    with pytest.raises(Refusal):
        store.put_file(digest, size, iter(chunks))
    assert not store.has_file(digest)


def test_an_upload_that_breaks_off_is_never_visible_and_may_be_repeated(store: Any) -> None:
    content = b"q" * 2_500_000
    digest = hashlib.sha256(content).hexdigest()

    def broken() -> Iterator[bytes]:
        yield content[:2_000_000]
        raise KeyError("the sender went away")

    with pytest.raises(KeyError):
        store.put_file(digest, len(content), broken())
    assert not store.has_file(digest)
    assert put(store, content) == digest


def test_an_unknown_or_malformed_file_is_refused(store: Any) -> None:
    with pytest.raises(Refusal) as unknown:
        store.read_file("0" * 64, 0, 1)
    assert unknown.value.code == "not_found"
    assert not store.has_file("0" * 64)
    for bad in ("", "x" * 64, "A" * 64, "0" * 64 + "\n"):
        with pytest.raises(Refusal) as malformed:
            store.has_file(bad)
        assert malformed.value.code == "invalid"


def test_only_the_first_token_is_first(store: Any) -> None:
    assert store.role_of("d1") is None
    assert store.create_first_token("d1", "root", "admin")
    assert not store.create_first_token("d2", "other", "admin")
    store.create_token("d3", "bob", "user")
    store.create_token("d3", "bob", "user")
    with pytest.raises(Refusal) as refusal:
        store.create_token("d3", "bob", "admin")
    assert refusal.value.code == "conflict"
    assert (store.role_of("d1"), store.role_of("d2"), store.role_of("d3")) == (
        ("root", "admin"),
        None,
        ("bob", "user"),
    )


def test_of_many_first_tokens_one_wins(store: Any) -> None:
    won: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda n=number: won.append(store.create_first_token(f"d{n}", f"n{n}", "admin"))
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(won) == [False, False, False, True]


def test_preparing_again_changes_nothing(store: Any) -> None:
    epoch, cluster_id = store.take_epoch("a"), store.cluster_id()
    store.prepare()
    assert store.cluster_id() == cluster_id != ""
    assert list(store.commit(epoch, [])) == []
    assert store.take_epoch("b") > epoch
