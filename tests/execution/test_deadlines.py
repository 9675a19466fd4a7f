"""A task that is to stop with its executor runs only as long as the executor renews it (P11)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from execution.harness import Bench, executed, script
from wait import wait_until

from khala.core.task import ExitReason, OnDisconnect, TaskSpec
from khala.execution.job import PhaseStarted
from khala.execution.launching.children import now_s

LEASE_S = 6.0
"""Longer than a machine stands still."""


def stopping(text: str) -> TaskSpec:
    return replace(script(text), on_disconnect=OnDisconnect.STOP)


def test_without_renewal_it_is_ended_by_its_launcher_and_counts_as_lost(own_bench: Bench) -> None:
    own_bench.pool.renew(now_s() + LEASE_S)
    began = now_s()
    end = own_bench.run(stopping("trap 'echo told; exit 1' TERM; sleep 600 & wait"))
    assert LEASE_S - 1 < now_s() - began < 60
    assert (end.outcome.exit_reason, end.outcome.succeeded) == (ExitReason.EXECUTOR_LOST, False)
    assert "did not say" in end.outcome.reason
    assert executed(end).stdout.head == b"told\n"


def test_what_ignores_the_signal_is_killed_after_the_grace(own_bench: Bench) -> None:
    own_bench.pool.renew(now_s() + 1.0)
    end = own_bench.run(stopping("trap '' TERM; sleep 600"))
    assert end.outcome.exit_reason == ExitReason.EXECUTOR_LOST


def test_renewed_it_runs_to_its_end(own_bench: Bench) -> None:
    own_bench.pool.renew(now_s() + LEASE_S)
    job = own_bench.start(stopping(f"sleep {LEASE_S + 2}; echo done"))
    own_bench.wait_for(PhaseStarted)
    began = now_s()

    def renewed() -> bool:
        own_bench.pool.renew(now_s() + LEASE_S)
        return now_s() - began > LEASE_S + 1

    wait_until(renewed, what="renewals for longer than one lasts")
    own_bench.pool.renew(now_s() + 60)
    assert executed(own_bench.end_of(job)).stdout.head == b"done\n"


@pytest.mark.parametrize("policy", list(OnDisconnect))
def test_a_task_that_goes_on_has_no_deadline_and_nobody_has_without_a_lease(
    own_bench: Bench, policy: OnDisconnect
) -> None:
    if policy is OnDisconnect.CONTINUE:
        own_bench.pool.renew(now_s() + 0.1)
    end = own_bench.run(replace(script("sleep 0.6; echo done"), on_disconnect=policy))
    assert executed(end).stdout.head == b"done\n"


def test_the_deadline_of_one_attempt_is_not_the_next_ones(own_bench: Bench) -> None:
    own_bench.pool.renew(now_s() + 0.3)
    assert own_bench.run(stopping("sleep 600")).outcome.exit_reason == ExitReason.EXECUTOR_LOST
    assert own_bench.text("sleep 0.3; echo on") == "on\n"
    late = own_bench.run(stopping("echo never"))
    assert late.outcome.exit_reason == ExitReason.EXECUTOR_LOST, "it began after the deadline"
