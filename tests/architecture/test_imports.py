"""Who may import what, and where each library stays (docs/architecture.md, "Layout")."""

from __future__ import annotations

import pytest
from architecture.import_rules import ALLOWED, FENCES, violations
from architecture.sources import modules


def test_every_import_keeps_the_rules() -> None:
    found = [line for name, path in modules() for line in violations(name, path.read_text())]
    assert not found, "\n" + "\n".join(found)


def test_every_package_has_a_rule() -> None:
    packages = {name.split(".")[1] for name, _ in modules() if "." in name}
    assert packages <= set(ALLOWED), (
        f"no rule for {sorted(packages - set(ALLOWED))}: add one to import_rules.py"
    )


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("khala.core.task", "import socket\nimport khala.bus.codec", "line 2: imports khala.bus.codec"),
        ("khala.store.mongo", "def f():\n    from khala.bus import codec", "store may import"),
        ("khala.bus.codec", "from ..store import interface", "imports khala.store"),
        ("khala.actors.scheduler", "from khala.store.mongo import client", "only the interface of store"),
        ("khala.gateway.app", "from khala import node", "and not node"),
        ("khala.cli.run", "import httpx", "httpx belongs in ['client'] only"),
        ("khala.core.task", "import pykka._ref", "pykka belongs in"),
        ("khala.actors.slot", "from subprocess import run", "subprocess belongs in"),
        ("khala.brandnew.thing", "import khala.errors", "there is no rule for package brandnew"),
    ],
)
def test_a_planted_violation_is_caught(module: str, source: str, said: str) -> None:
    found = violations(module, source)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("khala.bus.codec", "from khala.bus.gen import ttypes\nimport thrift.protocol"),
        ("khala.actors.scheduler", "from khala.store.interface import Store"),
        ("khala.cli.main", "from khala import __version__\nimport click"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_every_fence_encloses_packages_that_exist() -> None:
    for library, packages in FENCES.items():
        assert packages <= set(ALLOWED), f"the fence of {library} names a package that does not exist"
