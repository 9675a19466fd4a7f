"""The generated code of the wire contract is what the contract generates now."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from architecture.sources import ROOT

IDL = ROOT / "thrift" / "khala.thrift"
GENERATED = ROOT / "khala" / "bus" / "gen"


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    compiler = shutil.which("thrift")
    if compiler is None:
        lacking = "the Thrift compiler is missing: apt-get install thrift-compiler"
        if os.environ.get("CI") == "true":
            pytest.fail(lacking)
        pytest.skip(lacking)
    said = subprocess.run(
        [compiler, "-version"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    version = said.split()[-1]
    if f"Thrift Compiler ({version})" not in (GENERATED / "ttypes.py").read_text():
        pytest.skip(
            f"khala/bus/gen was made by another Thrift compiler than {version}, which cannot be compared"
        )
    subprocess.run([compiler, "-r", "--gen", "py:slots", "-out", tmp_path, IDL], check=True, timeout=60)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "khala" / "bus" / "gen").glob("*.py")}
    committed = {path.name: path.read_bytes() for path in GENERATED.glob("*.py")}
    assert fresh, "the compiler made nothing: has the namespace changed?"
    changed = sorted(
        name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name)
    )
    assert not changed, (
        f"{', '.join(changed)} of khala/bus/gen differ from thrift/khala.thrift: run `make gen`"
    )
