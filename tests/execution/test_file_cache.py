"""The cache of stored files: right content, bounded, least recently used goes first."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from khala.errors import Refusal, Unavailable
from khala.execution.file_cache import FileCache


def name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def add(cache: FileCache, content: bytes) -> str:
    sha256 = name_of(content)
    path = cache.add(sha256, iter([content[:3], content[3:]]))
    assert path.read_bytes() == content
    return sha256


def test_added_files_are_found(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", 100)
    assert cache.path_of("a" * 64) is None
    sha256 = add(cache, b"content")
    path = cache.path_of(sha256)
    assert path is not None
    assert path.read_bytes() == b"content"
    assert cache.used_bytes == 7
    add(cache, b"content")
    assert cache.used_bytes == 7
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_wrong_content_is_refused(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    with pytest.raises(Refusal, match="another digest"):
        cache.add("a" * 64, iter([b"content"]))
    with pytest.raises(Refusal, match="not a sha256"):
        cache.add("../../etc/passwd", iter([b"content"]))
    assert list(tmp_path.iterdir()) == []
    assert add(cache, b"x" * 100)


def test_a_broken_transfer_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 60
        raise Unavailable("the judicator is gone")

    cache = FileCache(tmp_path, 100)
    with pytest.raises(Unavailable, match="gone"):
        cache.add("a" * 64, chunks())
    assert list(tmp_path.iterdir()) == []
    assert add(cache, b"x" * 100)


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 30)
    first, second, third = (add(cache, bytes([n]) * 10) for n in range(3))
    assert cache.path_of(first)
    add(cache, b"new" * 3)
    assert cache.path_of(second) is None
    assert cache.path_of(first)
    assert cache.path_of(third)
    assert cache.used_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) == 29


def test_pinned_files_stay(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 30)
    first = name_of(b"1" * 20)
    cache.pin(first)
    cache.pin(first)
    add(cache, b"1" * 20)
    cache.unpin(first)
    with pytest.raises(Unavailable, match="no room"):
        add(cache, b"2" * 20)
    assert cache.path_of(first)
    cache.unpin(first)
    add(cache, b"2" * 20)
    assert cache.path_of(first) is None


def test_a_new_executor_takes_over_the_files(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 30)
    names = [add(cache, bytes([n]) * 10) for n in range(3)]
    for age, name in enumerate(names):
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / f"{'a' * 64}.1.part").write_bytes(b"x")
    again = FileCache(tmp_path, 20)
    assert again.used_bytes == 20
    assert again.path_of(names[2]) is None
    assert again.path_of(names[0])
    assert {path.name for path in tmp_path.iterdir()} == set(names[:2])


def test_a_file_that_somebody_removed(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 30)
    sha256 = add(cache, b"content")
    (tmp_path / sha256).unlink()
    assert cache.path_of(sha256) is None
    assert cache.used_bytes == 0
    add(cache, b"content")


def test_many_threads(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 500)
    contents = [bytes([n % 20]) * (n % 20 + 1) for n in range(200)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: cache.add(name_of(content), iter([content])), contents))
    assert cache.used_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) == 210
