"""Which cluster a command speaks to: `$KHALA_URL` and `$KHALA_TOKEN`, or the local one's record.

Imported by every command: keep it quick to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from khala.errors import Unavailable
from khala.local.data_directory import default_data_dir
from khala.local.record import read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """A gateway's URL, and the token to show it (empty on an open cluster)."""

    url: str
    token: str = ""


def find_cluster(environment: Mapping[str, str], data_dir: Path | None) -> ClusterAddress:
    """The cluster to use. A given `data_dir` wins over the environment. Unavailable: there is none."""
    if data_dir is None and environment.get("KHALA_URL"):
        return ClusterAddress(url=environment["KHALA_URL"], token=environment.get("KHALA_TOKEN", ""))
    directory = data_dir or default_data_dir(environment)
    record = read_record(directory)
    if record is None:
        raise Unavailable(f"no cluster is known in {directory}: start one with `khala up`, or set KHALA_URL")
    if not record.running:
        raise Unavailable(f"the cluster in {directory} is not running: start it with `khala up`")
    return ClusterAddress(url=record.gateway, token=environment.get("KHALA_TOKEN") or record.token)
