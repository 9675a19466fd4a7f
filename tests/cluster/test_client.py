"""The Python client and the commands that use it for many tasks, on a real cluster."""

from __future__ import annotations

import asyncio
import csv
import doctest
import io
import json
import os
import signal
import subprocess
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from cluster.conftest import KHALA, LocalCluster, environment
from prometheus_client.parser import text_string_to_metric_families
from wait import wait_until

import khala.client
from khala.client import AsyncClient, Client, CommandExecutor, OutputPiece
from khala.errors import Refusal


def test_the_examples_of_the_package_hold(running: LocalCluster) -> None:
    text = (khala.client.__doc__ or "").replace("http://127.0.0.1:7000", running.ready["gateway"])
    names = {"AsyncClient": AsyncClient, "OutputPiece": OutputPiece, "asyncio": asyncio}
    names["token"] = running.ready["token"]
    examples = doctest.DocTestParser().get_doctest(text, names, "khala.client", None, 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert len(examples.examples) >= 6
    assert not said, "".join(said)


def test_an_executor_of_commands(running: LocalCluster) -> None:
    with Client(running.ready["gateway"], running.ready["token"], patience_s=120) as client:
        with CommandExecutor(client, {"execute": {"limits": {"wall_time": 60}}}) as pool:
            assert [task.execute.stdout.text for task in pool.map("echo {1} {2}", "ab", "xy")] == [
                "a x\n",
                "b y\n",
            ]
            assert pool.submit(["printf", "%s"], "two words").result().execute.stdout.text == "two words"
            assert pool.submit("exit 3").result().execute.exit_code == 3
            with pytest.raises(Refusal):
                pool.submit("").result()
            long = pool.submit("sleep 600")
            wait_until(lambda: long.task_id, what="its submission")
            assert long.cancel()
            with pytest.raises(CancelledError):
                long.result()
            assert client.wait(long.task_id, timeout_s=300).state == "cancelled"
        with pytest.raises(RuntimeError, match="shutdown"):
            pool.submit("true")


def test_files_and_the_asynchronous_client(running: LocalCluster, tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with AsyncClient(running.ready["gateway"], running.ready["token"], patience_s=120) as client:
            file_id = await client.upload(b"\xff\x00\n")
            task = await client.run(
                {
                    "execute": {"command": "wc -c > size; cat size", "stdin_file": file_id},
                    "outputs": [{"glob": "size"}],
                }
            )
            saved = await client.save_output(task.id, task.outputs[0], tmp_path)
            ids = [await client.submit({"execute": {"command": f"echo {n}"}}) for n in range(20)]
            ends = {done.id async for done in client.as_completed(ids)}
            assert ends == set(ids)
            return [saved.read_text().strip(), (await client.cluster())["security"]]

    assert asyncio.run(main()) == ["3", "secured"]


def test_map_on_a_cluster_and_again(running: LocalCluster, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    words = ["map", "--joblog", log, "--tag", "seq {}; exit $(({} == 7))", ":::", *map(str, range(20))]
    ended = running.khala(*words)
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == "".join(f"{n}\t{line}\n" for n in range(20) for line in range(1, n + 1))
    again = running.khala("map", "--resume-failed", *words[1:])
    assert (again.returncode, again.stdout.count("\n")) == (1, 7)


def test_map_takes_a_long_list_from_a_pipe_and_ctrl_c(running: LocalCluster) -> None:
    values = "".join(f"{n}\n" for n in range(300))
    ended = running.khala("map", "-u", "echo", stdin=values)
    assert sorted(map(int, ended.stdout.split())) == list(range(300)), ended.stderr
    process = running.spawn("map", "--name", "mapped", "sleep", ":::", "600", "601", "602")

    def states() -> set[str]:
        page = running.told("ls", "--json", "--name-prefix", "mapped")
        return {task["state"] for task in page["tasks"]}

    wait_until(lambda: "running" in states(), what="the tasks")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    wait_until(lambda: states() == {"cancelled"}, what="the cancels")


def test_run_passes_what_is_no_text_and_leaves_it_with_n(running: LocalCluster) -> None:
    command = [*KHALA, "run", f"--data-dir={running.directory}"]
    content = os.urandom(300_000)
    for option, expected in ((), content), (("-n",), b""):
        ended = subprocess.run(
            [*command, *option, "--", "cat"], input=content, capture_output=True, timeout=300, check=True,
            env=environment(),
        )  # fmt: skip
        assert ended.stdout == expected


def test_wait_retry_drain_and_cluster(running: LocalCluster) -> None:
    good, bad = (
        running.khala("submit", "--", "bash", "-c", code).stdout.strip() for code in ("true", "exit 2")
    )
    ended = running.khala("wait", good, bad)
    assert ended.returncode == 1
    assert sorted(line.split()[0] for line in ended.stdout.splitlines()) == sorted([good, bad])
    new = running.khala("retry", bad).stdout.strip()
    assert running.khala("wait", new, good).returncode == 1

    assert running.khala("drain", "--wait", "executor-1").returncode == 0
    # Its next report tells it.
    wait_until(lambda: "1 draining" in running.khala("cluster").stdout, what="the drain to be shown")
    waiting = running.khala("submit", "--", "true").stdout.strip()
    late = running.khala("wait", "--timeout", "0.2", waiting)
    assert (late.returncode, "wait longer" in late.stderr) == (124, True)
    assert running.khala("undrain", "executor-1", "nobody").returncode == 4
    assert running.khala("wait", waiting).returncode == 0
    wait_until(lambda: running.told("cluster", "--json")["ready"], what="a ready cluster")


def scraped(cluster: LocalCluster) -> dict[tuple[object, ...], float]:
    """The metrics by name and labels, once a leader knows its executor."""
    ended = subprocess.run(
        ["curl", "-sf", "-H", f"Authorization: Bearer {cluster.ready['token']}",
         f"{cluster.ready['gateway']}/metrics"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = {(one.name, *sorted(one.labels.items())): one.value for family in
             text_string_to_metric_families(ended.stdout) for one in family.samples}  # fmt: skip
    assert found.get(("khala_leads", ("node", "judicator-1"))) == 1, found
    assert found.get(("khala_executor_slots", ("executor", "executor-1"))), found
    return found


def test_the_metrics_of_a_cluster(running: LocalCluster) -> None:
    running.khala("run", "--", "true")
    found = wait_until(lambda: scraped(running), what="a scrape with a leader and its executor")
    node = ("node", "judicator-1")
    assert found[("khala_leads", node)] == 1
    assert found[("khala_elections_total", node)] >= 1
    for kind in ("read", "write", "transaction"):
        assert found[("khala_store_seconds_count", ("kind", kind), node)] > 0, kind
    assert found[("khala_bus_dead_letters_total", node)] >= 0
    assert found[("khala_executor_slots", ("executor", "executor-1"))] == 2
    assert found[("khala_tasks", ("state", "succeeded"))] >= 1


def test_a_sweep_from_the_command_line(running: LocalCluster, tmp_path: Path) -> None:
    command = ["bash", "-c", "echo $(({a} * {b})); [ {b} != 3 ]"]
    ended = running.khala_job("submit", "--values", "a=2,4", "--values", "b=3,5", "--wait", "--", *command)
    assert ended.returncode == 1, ended.stderr
    job_id, state = ended.stdout.split()[:2]
    assert state == "failed" and "2 failed" in ended.stdout
    table = list(csv.DictReader(io.StringIO(running.khala_job("results", job_id).stdout)))
    assert [(row["a"], row["b"], row["stdout"].strip()) for row in table] == [
        ("2", "3", "6"), ("2", "5", "10"), ("4", "3", "12"), ("4", "5", "20")
    ]  # fmt: skip
    lines = running.khala_job("results", "--json", "-f", job_id).stdout.splitlines()
    assert [json.loads(line)["exit_code"] for line in lines] == [1, 0, 1, 0]
    assert job_id in running.khala_job("ls").stdout
    again = running.khala_job("retry", job_id).stdout.strip()
    assert running.khala_job("wait", again).returncode == 1
    shown = json.loads(running.khala_job("show", again, "--json").stdout)
    assert (shown["total"], shown["counts"]["failed"], shown["retried_from"]) == (2, 2, job_id)

    (tmp_path / "runs.csv").write_text("who,n\nann,1\nbob,2\n")
    by_csv = running.khala_job(
        "submit", "--csv", str(tmp_path / "runs.csv"), "--", "echo", "{who}{n}"
    ).stdout.strip()
    assert running.khala_job("wait", by_csv).returncode == 0
    long = running.khala_job("submit", "--range", "50", "--", "sleep", "600").stdout.strip()
    assert running.khala_job("wait", "--timeout", "0.2", long).returncode == 124
    assert running.khala_job("cancel", long).returncode == 0
    assert "cancelled" in running.khala_job("wait", long).stdout
