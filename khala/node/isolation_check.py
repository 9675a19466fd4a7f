"""What isolation holds on this host for an executor of this user, for `khala doctor`."""

from __future__ import annotations

from collections.abc import Mapping

from khala.errors import KhalaError
from khala.execution.probing import probe_here


def check_isolation() -> tuple[str, Mapping[str, str]]:
    """The levels that hold, and each layer's "ok…" or what it lacks. Runs a few tasks, leaves nothing.

    No level holds where not even a plain task runs; the only layer then says why.
    """
    try:
        found = probe_here()
    except KhalaError as why:
        return "", {"L0 launcher": str(why)}
    return ", ".join(level.value for level in found.levels), found.layers
