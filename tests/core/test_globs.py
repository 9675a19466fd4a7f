"""Globs: what is one, what it matches, and that nobody's glob takes more than its time."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khala.core.globs import parse_glob
from khala.core.task import Command, OutputGlob, TaskSpec
from khala.core.validation import validate_spec
from khala.errors import Refusal
from khala.execution.launching.matching import GlobPath


def matches(glob: str, path: str) -> bool:
    """As a launcher does it: parsed, sent as JSON, followed part by part."""
    way = GlobPath(json.loads(json.dumps(parse_glob(glob))))
    for name in path.split("/"):
        if not way.possible:
            return False
        way = way.enter(name)
    return way.matches


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("a.txt", "a.txt", "b.txt a.txtx xa.txt d/a.txt A.txt"),
        ("*.txt", "a.txt .txt é.txt", "a.txt/b d/a.txt a.txtx"),
        ("*", "a .hidden a.b", "a/b"),
        ("a*b*c", "abc aXbYc abbcc aabbcc", "ab abcX"),
        ("?", "a é", "ab a/b"),
        ("[abc]x", "ax bx", "dx x abx"),
        ("[a-c]", "a b c", "d -"),
        ("[!a-c]", "d - !", "a b"),
        ("[^a]", "b ^", "a"),
        ("[]a]", "] a", "b []a]"),
        ("[!]]", "a", "]"),
        ("[a-]", "a -", "b"),
        ("[-a]", "a -", "b"),
        ("[*]", "*", "a"),
        ("[[]", "[", "]"),
        ("]", "]", "["),
        ("out/*", "out/a", "out/a/b out a/out/b"),
        ("out/**", "out out/a out/a/b/c", "outx x/out"),
        ("**", "a a/b/c .git/x", ""),
        ("**/*.o", "a.o a/b.o a/b/c.o", "a.c a.o/b"),
        ("a/**/b", "a/b a/x/b a/x/y/b", "a ab a/x/c"),
        ("**/a/**/b/**", "a/b x/a/b a/x/b/y/z", "b a b/a"),
    ],
)
def test_what_a_glob_matches(glob: str, yes: str, no: str) -> None:
    assert [path for path in yes.split() if not matches(glob, path)] == []
    assert [path for path in no.split() if matches(glob, path)] == []


@pytest.mark.parametrize(
    ("glob", "why"),
    [
        ("", "relative"), ("/etc/passwd", "relative"), ("../x", "`..`"), ("a/../b", "`..`"), ("./a", "`.`"),
        ("a//b", "empty"), ("a/", "empty"), ("a\\*", "backslash"), ("a\0", "control"), ("a\n", "control"),
        ("[a", "without its"), ("[]", "without its"), ("[!]", "without its"), ("[a/b]", "without its"),
        ("[b-a]", "backwards"), ("a**", "a whole part"), ("***", "a whole part"), ("\ud800", "Unicode"),
        ("x" * 1025, "1024 bytes"), ("/".join("x" * 33), "32 parts"),
    ],
)  # fmt: skip
def test_what_is_no_glob(glob: str, why: str) -> None:
    with pytest.raises(Refusal, match=re.escape(why)) as refused:
        validate_spec(
            TaskSpec(execute=Command(shell="x"), outputs=(OutputGlob(glob="ok"), OutputGlob(glob=glob)))
        )
    assert refused.value.field == "outputs[1].glob"


def test_so_many_globs() -> None:
    with pytest.raises(Refusal, match="at most 100 globs"):
        validate_spec(TaskSpec(execute=Command(shell="x"), outputs=(OutputGlob(glob="*"),) * 101))


PARTS = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "[a-b]"]), min_size=1, max_size=6).map(
    "".join
)
GLOBS = st.lists(
    st.one_of(PARTS.filter(lambda part: "**" not in part), st.just("**")), min_size=1, max_size=5
)
PATHS = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=5)
AS_REGEX = {"*": "[^/]*", "?": "[^/]", "[ab]": "[ab]", "[!a]": "[^a/]", "[a-b]": "[a-b]"}


def as_regex(parts: list[str]) -> str:
    """Each part with a `/` behind it."""
    split = re.compile(r"\[[^]]*\]|.")
    return "".join(
        "(?:[^/]+/)*"
        if part == "**"
        else "".join(AS_REGEX.get(token, token) for token in split.findall(part)) + "/"
        for part in parts
    )


@settings(deadline=None, database=None)
@given(parts=GLOBS, path=PATHS)
def test_as_a_regular_expression_would(parts: list[str], path: list[str]) -> None:
    expected = re.fullmatch(as_regex(parts), "/".join(path) + "/") is not None
    assert matches("/".join(parts), "/".join(path)) is expected


@settings(deadline=None, database=None)
@given(glob=st.text("ab*?[]!-^/.", max_size=20))
def test_any_text_is_a_glob_or_refused(glob: str) -> None:
    try:
        parse_glob(glob)
    except Refusal:
        return
    matches(glob, "a/b/ab")


def test_no_glob_explodes() -> None:
    began = time.thread_time()
    assert not matches("*a" * 120 + "b", "a" * 250 + "c")
    assert not matches("/".join(["**", "*"] * 15 + ["x"]), "/".join("y" * 32))
    assert time.thread_time() - began < 5
