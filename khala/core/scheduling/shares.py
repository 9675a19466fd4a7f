"""Who has used how much of late, and how much each may run at a time. Pure.

The owner of a task who has used the least comes first (`rank`). Use is counted in seconds of slots and
fades by half each ten minutes; what is held now weighs as if it had run for `HELD_S` already, so that
equal owners take turns within one pass. A new leader begins with what it finds assigned and running.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from khala.core.task import Demand

HALF_LIFE_S = 600.0
HELD_S = 1.0
FORGOTTEN_BELOW_S = 0.01
_FADE_PER_S = math.log(2.0) / HALF_LIFE_S


@dataclass(slots=True)
class _Use:
    """`used_s` is as of `at`; since then `weight` slots were held."""

    used_s: float = 0.0
    at: float = 0.0
    weight: float = 0.0
    held: int = 0

    def until(self, now: float) -> float:
        """What has been used by `now`: the old has faded, and so has what came since, from when it came."""
        faded = math.exp((self.at - now) * _FADE_PER_S)
        return self.used_s * faded + self.weight * (1.0 - faded) / _FADE_PER_S


class Shares:
    """`limits` is how many tasks an owner may have assigned or running; who is not in it, any number."""

    def __init__(self) -> None:
        self.limits: Mapping[str, int] = {}
        self._owners: dict[str, _Use] = {}
        self._jobs: dict[str, int] = {}

    def take(self, demand: Demand, now: float) -> None:
        """An attempt is given away."""
        use = self._owners.setdefault(demand.owner, _Use(at=now))
        self._weigh(use, _weight(demand), now)
        use.held += 1
        if demand.max_parallel:
            self._jobs[demand.job_id] = self._jobs.get(demand.job_id, 0) + 1

    def give_back(self, demand: Demand, now: float) -> None:
        """It is over."""
        use = self._owners[demand.owner]
        self._weigh(use, -_weight(demand), now)
        use.held -= 1
        if demand.max_parallel:
            self._jobs[demand.job_id] -= 1
            if not self._jobs[demand.job_id]:
                del self._jobs[demand.job_id]

    def rank(self, owner: str, now: float) -> float:
        """Smaller comes first."""
        use = self._owners.get(owner)
        return 0.0 if use is None else use.until(now) + use.weight * HELD_S

    def held(self, owner: str) -> int:
        """How many tasks of this owner are assigned or running."""
        use = self._owners.get(owner)
        return 0 if use is None else use.held

    def may_take(self, owner: str, job_id: str, max_parallel: int) -> bool:
        """May one more task of this owner and job be assigned?"""
        limit = self.limits.get(owner)
        if limit is not None and self.held(owner) >= limit:
            return False
        return not max_parallel or self._jobs.get(job_id, 0) < max_parallel

    def forget(self, now: float) -> None:
        """Drop owners whose use has faded."""
        for owner in [o for o, u in self._owners.items() if not u.held and u.until(now) < FORGOTTEN_BELOW_S]:
            del self._owners[owner]

    @staticmethod
    def _weigh(use: _Use, more: float, now: float) -> None:
        use.used_s, use.at = use.until(now), now
        use.weight += more


def _weight(demand: Demand) -> float:
    """A task that needs several processors uses as many slots."""
    return max(1.0, demand.cpus)
