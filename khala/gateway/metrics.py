"""`/metrics` for Prometheus: what the judicators count, asked for at each scrape. Runs on the event loop.

What the leader knows is the same whichever gateway is asked; numbers labelled `node` are of the judicator
that answered. A leader counts from its election on, as after a restart: Prometheus expects that of counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from sanic.response import HTTPResponse

from khala.core.commands import CountTasks, ExecutorView, ExecutorViews, ListExecutors, TaskCounts
from khala.core.operations import GetMetrics, Metrics, Sample
from khala.core.task import State
from khala.gateway.exchange import Call
from khala.gateway.queries import Query
from khala.gateway.routes import Route

_PARTS = ("_bucket", "_sum", "_count")
_HELP = {
    "khala_tasks": "Tasks in the store, by state",
    "khala_tasks_ended": "Tasks that this leader saw end",
    "khala_phase_seconds": "How long tasks waited, compiled and executed",
    "khala_scheduler_pass_seconds": "How long the leader took each time to place what waits and to act on it",
    "khala_queue_depth": "Waiting tasks by priority",
    "khala_leader_epoch": "The epoch: it grows with every change of leadership",
    "khala_leads": "Is this judicator the leader?",
    "khala_elections": "Changes of leadership that this judicator has seen since it started",
    "khala_store_seconds": "How long operations on the store took, by kind",
    "khala_store_failures": "Operations on the store that failed, by kind",
    "khala_bus_dead_letters": "Messages to an actor that was not there",
    "khala_bus_queued_envelopes": "Messages that wait in the outboxes to other nodes",
    "khala_bus_queued_bytes": "Their size",
    "khala_executor_load": "The host's load average over a minute, as the executor reports it",
}


def metric_routes() -> tuple[Route, ...]:
    """The one route of metrics, for whoever may read everything."""
    return (Route(method="GET", path="/metrics", handler=show_metrics, summary="Metrics for Prometheus"),)


async def show_metrics(call: Call) -> HTTPResponse:
    """Prometheus' text format; for administrators and viewers."""
    Query(call.request, ())
    answered = await call.ask(GetMetrics(caller=call.caller), Metrics)
    counts = (await call.ask(CountTasks(caller=call.caller), TaskCounts)).counts
    executors = (await call.ask(ListExecutors(caller=call.caller), ExecutorViews)).executors
    states = [_sample("khala_tasks", counts.get(state, 0), state=state) for state in State]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once([*answered.samples, *states, *_executor_samples(executors)]))
    return HTTPResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Once(Collector):
    """The samples of one scrape as metric families."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterable[Metric]:
        """Each family with its kind, which its samples' names tell."""
        families: dict[str, Metric] = {}
        for sample in self._samples:
            name, kind = _family(sample.name)
            family = families.setdefault(name, Metric(name, _HELP.get(name, name), kind))
            family.add_sample(sample.name, dict(sample.labels), sample.value)
        return families.values()


def _family(sample: str) -> tuple[str, str]:
    if sample.endswith("_total"):
        return sample.removesuffix("_total"), "counter"
    for part in _PARTS:
        if sample.endswith(part):
            return sample.removesuffix(part), "histogram"
    return sample, "gauge"


def _executor_samples(executors: Sequence[ExecutorView]) -> Iterator[Sample]:
    for executor in executors:
        for name, value in (
            ("slots", executor.slots),
            ("running", len(executor.running)),
            ("assigned", executor.assigned),
            ("load", executor.load),
            ("draining", executor.draining),
        ):
            yield _sample(f"khala_executor_{name}", value, executor=executor.executor)


def _sample(name: str, value: float, **labels: str) -> Sample:
    return Sample(name=name, labels=labels, value=float(value))
