"""How much of a task a reader asked for: the three views, and the search requests' common rules.

Pure functions that both implementations share, so that they cut, page and refuse alike. Any thread.
They must not read the store.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from khala.core.commands import SearchTasks, TaskPage
from khala.core.jobs import SearchJobs
from khala.core.task import Command, PhaseResult, Result, StreamCapture, Task, TaskSpec
from khala.errors import Refusal

MOST_PER_PAGE = 1_000
MOST_UNPAGED = {"minimal": 100_000, "basic": 10_000, "full": 1_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePlan:
    """What a checked search reads: `take` tasks after the key `after`; `unpaged` refuses a longer list."""

    after: tuple[float, str] | None
    take: int
    unpaged: bool


def check_view(view: str) -> None:
    """Refuse a view that does not exist."""
    if view not in MOST_UNPAGED:
        raise Refusal(f"view must be minimal, basic or full, not {view!r}", field="view")


def plan_page(query: SearchTasks) -> PagePlan:
    """Check the numbers, the view and the token of a search; Refusal names the wrong one."""
    check_view(query.view)
    if query.offset < 0:
        raise Refusal("offset must be 0 or more", field="offset")
    if not 0 <= query.limit <= MOST_PER_PAGE:
        raise Refusal(f"limit must be between 0 (all) and {MOST_PER_PAGE}", field="limit")
    after = read_page_token(query.page_token) if query.page_token else None
    return PagePlan(after=after, take=query.limit or MOST_UNPAGED[query.view], unpaged=query.limit == 0)


def page_of(found: Sequence[Task], plan: PagePlan, total: int) -> TaskPage:
    """The page of `found`, which is `plan.take` tasks and one more if there are more."""
    more = len(found) > plan.take
    if more and plan.unpaged:
        raise Refusal(
            f"more than {plan.take} tasks match: ask for pages with limit and page_token",
            code="too_large",
            field="limit",
        )
    tasks = tuple(found[: plan.take])
    return TaskPage(tasks=tasks, next_page_token=page_token(tasks[-1]) if more else "", total=total)


def page_token(last: Task) -> str:
    """An opaque token that continues after `last`, in either order."""
    return token_of((last.created_at, last.id))


def token_of(key: tuple[float, str]) -> str:
    """An opaque token that continues after this key of a list."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode()


def plan_jobs(query: SearchJobs) -> int:
    """How many jobs a checked search reads; Refusal for a wrong number."""
    if not 1 <= query.limit <= MOST_PER_PAGE:
        raise Refusal(f"limit must be between 1 and {MOST_PER_PAGE}", field="limit")
    return query.limit


def read_page_token(token: str) -> tuple[float, str]:
    """The (created_at, id) inside a token; Refusal if it is not one of ours."""
    try:
        text = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=tuple[float, str])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise Refusal("page_token is not one that a search returned", field="page_token") from error


def label_texts(task: Task) -> list[str]:
    """What a label filter is compared with: `key` and `key=value` of each label."""
    return texts_of(task.spec.labels)


def texts_of(labels: Mapping[str, str]) -> list[str]:
    """What a label filter is compared with, of these labels."""
    return [text for key, value in labels.items() for text in (key, f"{key}={value}")]


def as_view(task: Task, view: str) -> Task:
    """`task` cut down to a view (see GetTasks); what is cut away has its default value."""
    if view == "full":
        return task
    if view == "basic":
        return replace(task, spec=without_content(task.spec), result=without_output(task.result))
    spec = task.spec
    brief = TaskSpec(name=spec.name, user=spec.user, labels=spec.labels, priority=spec.priority)
    verdict = task.result and Result(verdict=task.result.verdict)
    return replace(task, spec=brief, result=verdict, events=())


def as_hint(task: Task) -> Task:
    """View minimal, with what placement needs (khala.core.task.Demand)."""
    brief, spec = as_view(task, "minimal"), task.spec
    placed = replace(
        brief.spec,
        resources=spec.resources,
        constraints=spec.constraints,
        max_attempts=spec.max_attempts,
        on_disconnect=spec.on_disconnect,
        isolation=spec.isolation,
        retry_on=spec.retry_on,
        backoff_s=spec.backoff_s,
        queue_timeout_s=spec.queue_timeout_s,
        depends_on=spec.depends_on,
        ttl_after_finished_s=spec.ttl_after_finished_s,
    )
    return replace(brief, spec=placed)


def without_content(spec: TaskSpec) -> TaskSpec:
    """The specification without the bytes of inputs, stdin and expected output."""
    return replace(
        spec,
        inputs=tuple(replace(each, content=b"") for each in spec.inputs),
        compile=_without_stdin(spec.compile),
        execute=_without_stdin(spec.execute),
        expected_output=None,
    )


def without_output(result: Result | None) -> Result | None:
    """The result without heads and tails; true sizes stay."""
    if result is None:
        return None
    return replace(result, compile=_without_bytes(result.compile), execute=_without_bytes(result.execute))


def _without_stdin(command: Command | None) -> Command | None:
    return command and replace(command, stdin=b"")


def _without_bytes(phase: PhaseResult | None) -> PhaseResult | None:
    if phase is None:
        return None
    return replace(phase, stdout=_size_only(phase.stdout), stderr=_size_only(phase.stderr))


def _size_only(stream: StreamCapture) -> StreamCapture:
    return replace(stream, head=b"", tail=b"")
