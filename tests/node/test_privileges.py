"""Root's rights are given up for good, in a process of its own."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from khala.errors import ConfigurationError
from khala.node.privileges import become

_BECOME = """
import os, sys
from pathlib import Path
from khala.node.privileges import become
become("nobody", Path(sys.argv[1]))
print(os.getresuid(), os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("for good")
(Path(sys.argv[1]) / "etcd" / "new").touch()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@as_root
def test_the_data_of_an_earlier_life_as_root_are_handed_over() -> None:
    with tempfile.TemporaryDirectory(prefix="khala-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        data = Path(folder) / "data"
        (data / "etcd").mkdir(parents=True)
        (data / "link").symlink_to("/etc/passwd")
        ended = subprocess.run(
            [sys.executable, "-c", _BECOME, str(data)], capture_output=True, text=True, check=True, timeout=60
        )
        owners = {path.lstat().st_uid for path in (data, data / "etcd", data / "link")}
    nobody = pwd.getpwnam("nobody")
    assert f"{(nobody.pw_uid,) * 3} [{nobody.pw_gid}]\nfor good\n" in ended.stdout
    assert owners == {nobody.pw_uid}
    assert Path("/etc/passwd").stat().st_uid == 0


@as_root
def test_an_unknown_user_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--run-as: there is no user 'nobody-such'"):
        become("nobody-such", tmp_path)


def test_nothing_happens_without_a_user(tmp_path: Path) -> None:
    before = os.getresuid()
    become("", tmp_path / "data")
    assert os.getresuid() == before
    assert not (tmp_path / "data").exists()
