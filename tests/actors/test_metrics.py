"""What judicators count, and how Prometheus gets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from actors.world import World
from gateway.conftest import Stage, running
from gateway.real_cluster import RealCluster
from prometheus_client.parser import text_string_to_metric_families
from sanic import Sanic
from wait import wait_until

from khala.core.operations import GetMetrics
from khala.core.scheduling.queue import TaskQueue
from khala.core.scheduling.tally import Durations
from khala.core.task import Demand
from khala.store.timing import StoreTimes

Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def numbers(world: World, node: object) -> Numbers:
    samples = world.ask(node, GetMetrics()).samples  # type: ignore[arg-type]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def test_the_leader_counts_what_waits_and_what_ended(world: World) -> None:
    judicator = world.judicator()
    ids = world.submit(judicator, world.new("true"), world.new("exit 3", priority=5))
    depths = {("priority", "0"): 1.0, ("priority", "5"): 1.0}

    def waiting() -> bool:
        seen = numbers(world, judicator)
        return {
            labels[0]: value for (name, labels), value in seen.items() if name == "khala_queue_depth"
        } == depths

    wait_until(waiting, what="the queue")
    world.executor()
    world.finished(judicator, ids)

    def counted() -> Numbers:
        """The end may be stored a moment before it is counted."""
        seen = numbers(world, judicator)
        for state in ("succeeded", "failed"):
            assert seen.get(("khala_tasks_ended_total", (("exit_reason", "exited"), ("state", state)))) == 1
        assert seen.get(("khala_phase_seconds_count", (("phase", "execute"),))) == 2
        return seen

    seen = wait_until(counted, what="both ends in the numbers")
    assert seen["khala_phase_seconds_bucket", (("le", "+Inf"), ("phase", "queue"))] == 2
    assert not any(name == "khala_queue_depth" for name, _ in seen)
    assert seen["khala_scheduler_pass_seconds_count", ()] >= 2
    assert seen["khala_leader_epoch", ()] >= 1
    assert seen["khala_leads", (("node", judicator.name),)] == 1
    assert seen["khala_elections_total", (("node", judicator.name),)] >= 1
    assert seen["khala_bus_received_total", (("node", judicator.name),)] > 0


def test_without_a_leader_a_judicator_has_its_own_numbers(world: World) -> None:
    judicator = world.judicator(campaign=False)
    names = {name for name, _ in numbers(world, judicator)}
    assert "khala_bus_dead_letters_total" in names and "khala_leader_epoch" not in names


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Sanic, "test_mode", True)
    yield


def test_prometheus_can_read_it(tmp_path: Path, patched: None) -> None:
    world = World(tmp_path)
    try:
        cluster = RealCluster(world, secured=False)
        with running(Stage(cluster), auth="none") as gateway:
            gateway.submit()
            executor = world.executor()
            wait_until(
                lambda: gateway.http.get("/api/v1/stats").json()["tasks"]["succeeded"], what="the task"
            )
            wait_until(lambda: executor.name in gateway.http.get("/metrics").text, what="the executor")
            answer = gateway.http.get("/metrics")
    finally:
        world.close()
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["khala_tasks"].type == "gauge"
    assert families["khala_tasks_ended"].type == "counter"
    assert families["khala_phase_seconds"].type == "histogram"
    states = {sample.labels["state"]: sample.value for sample in families["khala_tasks"].samples}
    assert states["succeeded"] == 1 and states["pending"] == 0
    (slots,) = families["khala_executor_slots"].samples
    assert (slots.labels, slots.value) == ({"executor": executor.name}, 2.0)


def test_a_bucket_holds_all_that_is_at_most_its_bound() -> None:
    durations = Durations()
    for seconds in (0.01, 0.02, 5000.0):
        durations.add(seconds)
    found = {sample.labels.get("le"): sample.value for sample in durations.samples("n", phase="p")}
    assert (found["0.01"], found["0.03"], found["3600.0"], found["+Inf"]) == (1, 2, 2, 3)


def test_a_stores_times_are_told_by_kind() -> None:
    times = StoreTimes()
    with times.measured("read"):
        with pytest.raises(ZeroDivisionError), times.measured("write"):
            raise ZeroDivisionError
    found = {(s.name, *sorted(s.labels.items())): s.value for s in times.samples("j1")}
    for kind, count, failures in (("read", 1, 0), ("write", 1, 1), ("transaction", 0, 0)):
        labels = (("kind", kind), ("node", "j1"))
        assert found[("khala_store_seconds_count", *labels)] == count
        assert found[("khala_store_failures_total", *labels)] == failures
    assert found[("khala_store_seconds_bucket", ("kind", "read"), ("le", "+Inf"), ("node", "j1"))] == 1


def test_the_queue_knows_its_depth_by_priority() -> None:
    queue = TaskQueue()
    for number, priority in enumerate((0, 0, 7, 7, 7)):
        queue.push(str(number), Demand(priority=priority, created_at=float(number)))
    queue.push("0", Demand(priority=7, created_at=0.0))
    queue.push("1", Demand(priority=0, created_at=1.0))
    assert dict(queue.depths()) == {0: 1, 7: 4}
    queue.discard("1")
    queue.discard("1")
    (lane,) = queue.lanes()
    assert queue.take(lane) == "0"
    assert dict(queue.depths()) == {7: 3}
