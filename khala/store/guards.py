"""What a batch of changes must be before any store looks at it; any thread."""

from __future__ import annotations

from collections.abc import Sequence

from khala.core.changes import Change
from khala.core.task import Epoch
from khala.errors import Fault, StaleEpoch


def check_changes(changes: Sequence[Change]) -> None:
    """Raise Fault for a change that would leave a gap in a task's revs: a bug of its maker."""
    for change in changes:
        if not change.control.rev == change.event.rev == change.expected_rev + 1:
            raise Fault(
                f"change of task {change.task_id} expects rev {change.expected_rev} but writes control rev "
                f"{change.control.rev} and event rev {change.event.rev}"
            )


def stale(epoch: Epoch) -> StaleEpoch:
    """The error of a batch whose epoch is no longer the store's."""
    return StaleEpoch(
        f"epoch {epoch.generation}.{epoch.number} is over: nothing was written; resign and campaign again"
    )
