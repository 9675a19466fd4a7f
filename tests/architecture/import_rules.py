"""The import rules of the architecture, and finding what breaks them in source code. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Package → the packages of Khala that it may import (itself, and khala's version, always).
ALLOWED: Mapping[str, frozenset[str]] = {
    "errors": frozenset(),
    "sizes": frozenset(),
    "core": frozenset({"errors", "sizes"}),
    "config": frozenset({"core", "errors"}),
    "bus": frozenset({"core", "errors"}),
    "store": frozenset({"core", "errors"}),
    "coordination": frozenset({"core", "errors"}),
    "execution": frozenset({"core", "errors"}),
    "services": frozenset({"core", "errors"}),
    "actors": frozenset({"bus", "core", "errors", "execution", "services", "store", "coordination"}),
    "gateway": frozenset({"bus", "core", "errors"}),
    "client": frozenset({"core", "errors"}),
    "local": frozenset({"config", "services", "client", "errors"}),
    "cli": frozenset({"client", "local", "node", "config", "errors", "sizes"}),
    "node": frozenset(
        {
            "actors",
            "bus",
            "config",
            "coordination",
            "core",
            "errors",
            "execution",
            "gateway",
            "services",
            "store",
        }
    ),
}

# Of these packages an actor may know the interface, not the implementations.
INTERFACE_ONLY = {("actors", "store"), ("actors", "coordination")}

# Library → the only packages that may import it.
FENCES: Mapping[str, frozenset[str]] = {
    "thrift": frozenset({"bus"}),
    "sanic": frozenset({"gateway"}),
    "sanic_ext": frozenset({"gateway"}),
    "pymongo": frozenset({"store"}),
    "gridfs": frozenset({"store"}),
    "bson": frozenset({"store"}),
    "etcd3": frozenset({"coordination"}),
    "grpc": frozenset({"coordination"}),
    "pykka": frozenset({"actors", "bus", "node"}),
    "subprocess": frozenset({"execution", "services", "local"}),
    "httpx": frozenset({"client"}),
    "prometheus_client": frozenset({"gateway"}),
    "docker": frozenset({"config"}),
    "rich": frozenset({"cli", "local"}),
    "click": frozenset({"cli", "local"}),
}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, and the line that imports it."""

    module: str
    line: int


def imports_of(source: str, module: str) -> Iterator[Import]:
    """Everything that `module` imports, inside functions too, with relative imports made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")[: -node.level]
                base = ".".join([*parts, base] if base else parts)
            # `from khala import node` names a module, `from khala.core import task` may: keep both.
            yield Import(base, node.lineno)
            if base == "khala":
                for alias in node.names:
                    yield Import(f"khala.{alias.name}", node.lineno)


def violations(module: str, source: str) -> list[str]:
    """What in `source`, the text of `module` (as khala.bus.codec), breaks a rule; one line each."""
    package = package_of(module)
    found = []
    for entry in imports_of(source, module):
        place = f"{module}, line {entry.line}: imports {entry.module}"
        top = entry.module.split(".")[0]
        if top == "khala":
            target = package_of(entry.module)
            if target in ("", "__version__", package):
                continue
            if package not in ALLOWED:
                found.append(f"{place}: there is no rule for package {package}")
            elif target not in ALLOWED[package]:
                found.append(f"{place}: {package} may import {sorted(ALLOWED[package])} and not {target}")
            elif (package, target) in INTERFACE_ONLY and not entry.module.endswith(".interface"):
                found.append(f"{place}: {package} may know only the interface of {target}")
        elif top in FENCES and package not in FENCES[top]:
            found.append(f"{place}: {top} belongs in {sorted(FENCES[top])} only")
    return found


def package_of(module: str) -> str:
    """`bus` for khala.bus.codec, `errors` for khala.errors, the empty string for khala itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""
