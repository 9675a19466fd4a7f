"""`make faults SEED=N MINUTES=M`: a cluster under load and under seeded faults, judged again and again.

PYTHONPATH=.:tests python -m faults.run --seed 7 --minutes 20 [--judicators 3] [--rate 25] [--longest 3]
    [--dry-run]

It prints the seed and each fault with its time, so that it can be compared with another run of the same
seed; `--dry-run` prints the schedule only. Every two minutes all is healed, and the history is judged. On
a violation the history is kept in a folder that is named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from cluster.conftest import LocalCluster
from cluster.guard import guarded
from faults.evidence import Verdict
from faults.growth import Reading, grown, read
from faults.nemesis import FAULTS, Nemesis, Stroke, schedule
from faults.trial import Trial
from history.violation import Violation

ROUND_S = 120.0
BOUND_S = 120.0


class Soak:
    """One run; `minutes` of faults in rounds that each end with a judgement."""

    def __init__(
        self,
        cluster: LocalCluster,
        seed: int,
        minutes: float,
        words: list[str],
        rate: float,
        longest_s: float,
    ) -> None:
        self._length_s = minutes * 60
        self._trial = Trial(cluster, seed, rate=rate, longest_s=longest_s)
        self._nemesis = Nemesis(self._trial, words)
        self._strokes = schedule(seed, self._length_s)
        self._readings: list[Reading] = []
        self._began = self._round_began = time.monotonic()

    def run(self) -> Verdict:
        """Raises Violation, or AssertionError for too little work or growth."""
        verdict = Verdict()
        rounds = max(1, round(self._length_s / ROUND_S))
        for number in range(rounds):
            end_s = self._length_s * (number + 1) / rounds
            begin_s = self._length_s * number / rounds
            self._trial.begin()
            self._round_began = time.monotonic()
            for stroke in [each for each in self._strokes if begin_s <= each.at_s < end_s]:
                self._strike(stroke, begin_s)
            verdict = self._judge()
            self._readings.append(read(self._trial.cluster))
            self._tell(f"round {number + 1} of {rounds}: {summary(verdict)}")
            self._tell(f"at rest: {self._readings[-1]}")
        self._require(verdict)
        return verdict

    def close(self) -> None:
        """End the clients."""
        self._trial.load.finish()
        self._trial.close()

    def _strike(self, stroke: Stroke, round_begin_s: float) -> None:
        self._tell(f"{stroke.at_s:8.1f} s {stroke.fault} (choice {stroke.choice}, {stroke.lasts_s} s)")
        self._nemesis.wait(stroke.at_s - round_begin_s - (time.monotonic() - self._round_began))
        self._nemesis.strike(stroke)

    def _judge(self) -> Verdict:
        self._trial.wait_whole()
        self._trial.wait_progress()
        return self._trial.judge(bound_s=BOUND_S)

    def _require(self, verdict: Verdict) -> None:
        """Growth over the second half, and that each kind of fault hit something that ran."""
        last = (len(self._readings) + 2) // 4  # the later half of the second half
        if last and len(self._readings) > last:
            wrong = grown(self._readings[:-last], self._readings[-last:])
            assert not wrong, f"growth over the second half: {wrong}"
        struck = {stroke.fault for stroke in self._strokes}
        idle = [fault for fault in struck if not verdict.struck[fault]]
        assert not idle, f"these faults hit no running attempt: {idle}"
        assert verdict.second_attempts, "no second attempt occurred"

    def _tell(self, line: str) -> None:
        print(f"[{time.monotonic() - self._began:7.1f} s] {line}", flush=True)


def summary(verdict: Verdict) -> str:
    """A verdict in one line."""
    share = 100 * verdict.retryable_succeeded / max(verdict.retryable, 1)
    return (
        f"clean; {verdict.tasks} tasks, {share:.2f} % of {verdict.retryable} retryable ones succeeded, "
        f"{verdict.second_attempts} with more than one attempt; {sum(verdict.faults.values())} faults, "
        f"{sum(verdict.struck.values())} hit running attempts; calls {dict(verdict.calls)}; "
        f"longest time without an acknowledgement {verdict.longest_gap_s:.1f} s"
    )


def main() -> int:
    """Returns 1 if something was wrong."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    words.add_argument("--minutes", type=float, default=20.0)
    words.add_argument("--judicators", type=int, default=3)
    words.add_argument("--executors", type=int, default=4)
    words.add_argument("--slots", type=int, default=3)
    words.add_argument("--rate", type=float, default=25.0, help="submits a second")
    words.add_argument("--longest", type=float, default=3.0, help="seconds that one task takes at most")
    words.add_argument("--dry-run", action="store_true", help="print the schedule and end")
    asked = words.parse_args()
    print(f"seed {asked.seed}, {asked.minutes:g} minutes, {len(FAULTS)} kinds of faults", flush=True)
    if asked.dry_run:
        print("\n".join(map(str, schedule(asked.seed, asked.minutes * 60))))
        return 0
    size = [f"--judicators={asked.judicators}", f"--executors={asked.executors}", "--gateways=2"]
    size.append(f"--slots={asked.slots}")
    folder = Path(tempfile.mkdtemp(prefix="khala-soak-"))
    with guarded(folder):
        return run(LocalCluster(folder / "c"), asked, size)


def run(cluster: LocalCluster, asked: argparse.Namespace, size: list[str]) -> int:
    """Bring it up, try it, take it down."""
    try:
        cluster.up(*size)
        soak = Soak(cluster, asked.seed, asked.minutes, size, asked.rate, asked.longest)
        try:
            print(f"seed {asked.seed}: {summary(soak.run())}")
        finally:
            soak.close()
    except (AssertionError, Violation) as wrong:
        print(f"seed {asked.seed}: {wrong}\n{' '.join(getattr(wrong, '__notes__', []))}", file=sys.stderr)
        return 1
    finally:
        cluster.khala("down")
        shutil.rmtree(cluster.directory.parent, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
