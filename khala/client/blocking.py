"""The blocking client's way to use what is written once, as coroutines.

Over a blocking wire a coroutine never suspends: one step runs it to its end, in the caller's thread.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from khala.errors import Fault

P = ParamSpec("P")
T = TypeVar("T")
Calls = TypeVar("Calls", contravariant=True)


class _Blocking(Protocol):
    """A blocking client: `_calls` has the same methods as coroutines."""

    @property
    def _calls(self) -> Any: ...


def finish(awaitable: Awaitable[T]) -> T:
    """The result of what never suspends."""
    try:
        awaitable.__await__().send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise Fault("a blocking wire has suspended")


def blocking(
    method: Callable[Concatenate[Calls, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Blocking, P], T]:
    """A method that blocks until `method` is done."""

    @functools.wraps(method)
    def call(self: _Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return finish(method(self._calls, *args, **kwargs))

    return call


def blocking_each(
    method: Callable[Concatenate[Calls, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[_Blocking, P], Generator[T, None, None]]:
    """A generator that blocks for each item of `method`'s."""

    @functools.wraps(method)
    def call(self: _Blocking, /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        items = method(self._calls, *args, **kwargs)
        try:
            while True:
                try:
                    item = finish(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            finish(items.aclose())

    return call
