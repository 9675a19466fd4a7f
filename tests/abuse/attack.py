"""Running an attack as either phase of a task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from execution.harness import Bench

from khala.core.task import Command, ExitReason, Isolation, Limits, Outcome, PhaseResult, TaskSpec

WALL_S = 60.0
NEVER = "echo never"


@dataclass(frozen=True)
class Attack:
    """How an attack ended, and the phase that it was."""

    outcome: Outcome
    result: PhaseResult

    @property
    def why(self) -> ExitReason:
        return self.outcome.exit_reason

    @property
    def said(self) -> str:
        return self.result.stdout.head.decode(errors="replace")

    @property
    def enforced(self) -> tuple[str, ...]:
        assert self.outcome.result is not None
        return self.outcome.result.enforced


def attacking(
    script: str, level: Isolation, phase: str, *, network: bool = False, env: dict[str, str] | None = None,
    **limits: float,
) -> TaskSpec:  # fmt: skip
    """A task whose `phase` is the attack. Wall time and processes are always bounded."""
    bounds = Limits(**{"wall_time_s": WALL_S, "processes": 64, **limits})  # type: ignore[arg-type]
    command = Command(shell=script, limits=bounds, env=env or {})
    other = Command(shell="true")
    spec = {"compile": (command, other), "execute": (None, command)}[phase]
    return TaskSpec(compile=spec[0], execute=spec[1], isolation=level, network=network)


def attack(bench: Bench, script: str, level: Isolation, phase: str = "execute", **asked: object) -> Attack:
    """Run it in slot 0."""
    end = bench.run(attacking(script, level, phase, **asked))  # type: ignore[arg-type]
    result = end.outcome.result
    assert result is not None, end.outcome
    attacked = getattr(result, phase)
    assert attacked is not None, end.outcome
    if end.outcome.phase == "compile" and not end.outcome.succeeded:
        assert result.execute is None, "a failed compile ends the task"
    return Attack(end.outcome, attacked)


def holds_groups(attack_: Attack) -> bool:
    """Did a control group hold memory and processes?"""
    return any(name.startswith("cgroup-") and name.endswith(":memory") for name in attack_.enforced)


def secret_of(folder: Path) -> Path:
    """A file that only this user may read."""
    secret = folder / "secret.txt"
    secret.write_text("the-cluster-secret\n")
    secret.chmod(0o600)
    return secret
