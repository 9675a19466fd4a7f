"""What the code imports is what the package asks for; a machine with nothing installed must get it all."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from architecture.import_rules import imports_of
from architecture.sources import ROOT, modules

# Imported only inside a function that tells how to get them: the extra of this name has them.
OPTIONAL = {"docker": "docker"}


def test_every_library_that_is_imported_is_asked_for() -> None:
    asked = _names(_requirements("install_requires"))
    makers = packages_distributions()
    missing = set()
    for name, path in modules():
        for entry in imports_of(path.read_text(), name):
            top = entry.module.split(".")[0]
            if top in sys.stdlib_module_names or top in ("khala", *OPTIONAL):
                continue
            distributions = {_normal(one) for one in makers.get(top, [top])}
            if not distributions & asked:
                missing.add(f"{name} imports {top}, which setup.py does not ask for")
    assert not missing, "\n".join(sorted(missing))


def test_every_requirement_has_bounds() -> None:
    unbound = [one for one in _requirements("install_requires") if not re.search(r"==|<", one)]
    assert not unbound


def test_the_version_is_found_without_importing() -> None:
    assert re.search(
        r'^__version__ = "\d+\.\d+\.\d+"$', (ROOT / "khala/__init__.py").read_text(), re.MULTILINE
    )


def _requirements(keyword: str) -> list[str]:
    tree = ast.parse(Path(ROOT / "setup.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == keyword:
            found: list[str] = ast.literal_eval(node.value)
            return found
    raise AssertionError(f"setup.py has no {keyword}")


def _names(requirements: list[str]) -> set[str]:
    return {_normal(re.split(r"[<>=!~;\[ ]", one)[0]) for one in requirements}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
