"""What `khala doctor` says of a container."""

from __future__ import annotations

from pathlib import Path

from khala.local.host_check import check_container


def test_a_container_is_told_the_options_that_it_lacks(tmp_path: Path) -> None:
    mark = tmp_path / ".dockerenv"
    assert check_container(lacking=["cgroups"], mark=mark) == ()
    mark.touch()
    (finding,) = check_container(lacking=["cgroups", "L2 cgroup pids"], mark=mark)
    assert (finding.state, "--cgroupns=host" in finding.found, "seccomp" in finding.found) == (
        "optional",
        True,
        False,
    )
    (finding,) = check_container(lacking=[], mark=mark)
    assert finding.state == "ok"
