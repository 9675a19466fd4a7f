"""What an executor takes of its host, read from outside: memory, descriptors, and what tasks left behind."""

from __future__ import annotations

from pathlib import Path

import psutil
from cluster.conftest import LocalCluster
from cluster.victims import name_of
from groups import used_groups
from idle import is_idle, is_next


class Footprint:
    """The executor's own process and its family (the zygote, one launcher a slot)."""

    def __init__(self, cluster: LocalCluster, name: str = "executor-1") -> None:
        entry = next(entry for entry in cluster.record().processes if entry.name == name)
        assert entry.identity is not None
        self.daemon = psutil.Process(entry.identity.pid)

    @property
    def family(self) -> list[psutil.Process]:
        """The zygote and the launchers."""
        zygote = next(child for child in self.daemon.children() if name_of(child) == "khala-zygote")
        launchers = [child for child in zygote.children() if name_of(child).startswith("khala-slot-")]
        return [zygote, *launchers]

    def daemon_bytes(self) -> int:
        """Resident memory of the executor's own process."""
        return int(self.daemon.memory_info().rss)

    def bytes(self) -> int:
        """What it and its family hold for themselves; pages that forks share are counted once."""
        return sum(process.memory_full_info().uss for process in (self.daemon, *self.family))

    def descriptors(self) -> dict[str, int]:
        """Open descriptors by process name, so that a launcher may be another process than before."""
        return {process.name(): process.num_fds() for process in (self.daemon, *self.family)}

    def leftovers(self) -> dict[str, list[str]]:
        """Workspaces, groups of phases and tasks' processes: empty lists when nothing runs."""
        roots = self._roots()
        family = {process.pid for process in self.family}
        below = [process for parent in self.family for process in parent.children(recursive=True)]
        return {
            "workspaces": [str(path) for root in roots for path in _listed(root) if not is_next(path)],
            "groups": [str(path) for root in roots for path in used_groups(root)],
            "processes": [str(process) for process in below if process.pid not in family],
        }

    @property
    def is_idle(self) -> bool:
        """Have all launchers done what follows the end of an attempt?"""
        return all(is_idle(process.pid) for process in self.family[1:])

    def _roots(self) -> list[Path]:
        """The folders that a launcher holds open: its workspace root among them.

        `/` is none of them: so reads the root of its message queues' file system, which is mounted nowhere.
        """
        paths = {fd.resolve() for fd in Path(f"/proc/{self.family[-1].pid}/fd").iterdir()}
        return [path for path in paths if path.is_dir() and path != Path("/")]


def _listed(folder: Path) -> list[Path]:
    """Nothing of a workspace that goes just now."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
