"""The figures of a whole run as a Markdown table, and as plots if matplotlib is there."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = tuple[str, str, str, str, str]
Scenarios = Mapping[str, Mapping[str, Any]]


def write(whole: Mapping[str, Any], folder: Path) -> None:
    """Write bench.md and the plots into `folder`."""
    scenarios: Scenarios = whole["scenarios"]
    lines = ["# What `make bench` found", ""]
    lines += [f"- {name}: {value}" for name, value in whole["machine"].items()]
    lines += ["", "| what | median | from – to | ratio to xargs | goal |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(scenarios)]
    lines += [""] + [
        f"- {name} failed: {told['failed']}" for name, told in scenarios.items() if "failed" in told
    ]
    (folder / "bench.md").write_text("\n".join(lines) + "\n")
    _plot(scenarios, folder)


def _rows(scenarios: Scenarios) -> Iterator[Row]:
    for name, rows in ROWS.items():
        if "found" in scenarios.get(name, {}):
            yield from rows(scenarios[name]["found"], statistics.mean(scenarios[name]["baseline_per_s"]))


def _rate(what: str, values: Sequence[float], baseline: float, goal: str = "", unit: str = "/s") -> Row:
    middle = statistics.median(values)
    spread = f"{min(values):,.0f} – {max(values):,.0f}"
    return what, f"{middle:,.0f}{unit}", spread, f"{middle / baseline:.2f}", goal


def _throughput(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    for name, values in found["tasks_per_s"].items():
        goal = "0.6 × subprocess" if name == "khala" else ""
        yield _rate(f"`sh -c true` by {name}", values, baseline, goal)


def _control_plane(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    yield _rate("control plane, simulated executors", found["tasks_per_s"], baseline, "10,000 (floor 3,000)")
    for process, ms in found["cpu_ms_per_task"].items():
        yield f"… CPU of {process}", f"{ms:.3f} ms a task", "", "", ""
    most_ms = found["scheduler_pass_p99_at_most_ms"]
    yield "… one pass of the scheduler, p99", f"at most {most_ms:g} ms", "", "", "20"


def _idle(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    del baseline
    for who in ("real", "simulated"):
        took = found[f"{who}_ms"]
        yield f"one task, idle, {who} executor", f"{took['p50']} ms", f"p99 {took['p99']} ms", "", "8, p99 25"
    took = found["cancel_ms"]
    yield "from a cancel to the process's end", f"{took['p50']} ms", f"p99 {took['p99']} ms", "", "p99 200"
    for name, percent in found.items():
        if name.startswith("idle_percent_"):
            count = name.removeprefix("idle_percent_")
            yield f"idle cluster, {count} simulated executors", f"{percent} % of a CPU", "", "", "10 at 1,000"


def _http(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    yield _rate(
        "POST of a task, durable, 64 connections", found["posts_per_s"], baseline, "2,000 (floor 800)"
    )
    yield _rate("GET of a task", found["gets_per_s"], baseline, "4,000")
    for name in ("post", "get"):
        for process, ms in found[f"{name}_cpu_ms"].items():
            yield f"… CPU of {process}, {name.upper()}", f"{ms:.3f} ms each", "", "", ""


def _scaling(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    for one in found["by_depth"]:
        what = f"control plane, {one['depth']:,} more tasks wait"
        memory = f"{one['bytes_per_queued_task']} B a task"
        yield _rate(what, one["tasks_per_s"], baseline, f"{memory}; 1,024")
    for one in found["by_executors"]:
        yield _rate(f"control plane, {one['executors']} executors", one["tasks_per_s"], baseline)


def _isolation(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    del baseline
    for level, ms in found["median_ms"].items():
        yield f"one `/bin/true`, {level}", f"{ms:.2f} ms", "", "", ""


def _transfer(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    del baseline
    goals = {"live output, bytes": "50", "live output, events": "15"}
    for what, mb_per_s in found["mb_per_s"].items():
        spread = f"{min(mb_per_s):.0f} – {max(mb_per_s):.0f}"
        yield what, f"{statistics.median(mb_per_s):.0f} MB/s", spread, "", goals.get(what, "")


def _failover(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    del baseline
    for what, seconds in found.items():
        yield what, f"{statistics.median(seconds):.1f} s", f"{min(seconds):.1f} – {max(seconds):.1f}", "", ""


def _store_size(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    del baseline
    sweep, lists = found["sweep"], found["lists"]
    yield f"a job of {sweep['tasks']:,} tasks is accepted", f"{sweep['accepted_s']} s", "", "", "10 s"
    yield "… one page of its tasks while they run", f"{sweep['page_ms']['p50']} ms", "", "", "50 ms"
    for words, one in lists["ms"].items():
        yield f"{lists['tasks']:,} tasks: {words}", f"{one['p50']} ms", f"p95 {one['p95']} ms", "", "100 ms"


def _peers(found: Mapping[str, Any], baseline: float) -> Iterator[Row]:
    for name, values in found["tasks_per_s"].items():
        yield _rate(f"`sh -c true` by {name}", values, baseline)
    for name, why in found["missing"].items():
        yield f"`sh -c true` by {name}", "not measured", why.replace("|", " ").replace("\n", " "), "", ""


ROWS = {
    "throughput": _throughput,
    "control_plane": _control_plane,
    "idle": _idle,
    "http_rates": _http,
    "scaling": _scaling,
    "isolation": _isolation,
    "transfer": _transfer,
    "failover": _failover,
    "store_size": _store_size,
    "peers.run": _peers,
}


def _plot(scenarios: Scenarios, folder: Path) -> None:
    try:
        from matplotlib import figure
    except ImportError:
        return

    def draw(name: str, title: str, x: Sequence[Any], y: Sequence[float], label: str) -> None:
        drawing = figure.Figure(figsize=(7, 4), layout="constrained")
        axes = drawing.subplots()
        if x and isinstance(x[0], str):
            axes.barh(list(x), list(y))
            axes.set_xlabel(label)
        else:
            axes.plot(list(x), list(y), marker="o")
            axes.set_xscale("log")
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
        axes.set_title(title)
        drawing.savefig(folder / f"{name}.png", dpi=110)

    rates = {
        name: statistics.median(values)
        for scenario in ("throughput", "peers.run")
        for name, values in scenarios.get(scenario, {}).get("found", {}).get("tasks_per_s", {}).items()
    }
    if rates:
        draw("peers", "sh -c true", list(rates), list(rates.values()), "tasks/s")
    scaling = scenarios.get("scaling", {}).get("found", {})
    for by, field in (("by_depth", "depth"), ("by_executors", "executors")):
        found = scaling.get(by, ())
        if found:
            x = [one[field] for one in found]
            y = [statistics.median(one["tasks_per_s"]) for one in found]
            draw(by, f"control plane {by.replace('_', ' ')}", x, y, "tasks/s")
