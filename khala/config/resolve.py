"""From flags, environment and file to one role's settings, complete and checked.

Order: flag, then `KHALA_…` variable, then TOML file, then default. Asks the host only for what the
settings name (`khala.config.host`), and reads the secret's file. Runs once, before a role starts.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from khala.config.flags import Flag, Kind, flags_of
from khala.config.host import DOCKER, Host, cpu_count, cpus_offered, host_name, memory_bytes
from khala.config.layers import CONFIG_VARIABLE, Given, Layers
from khala.config.roles import ROLES, ExecutorConfig, JudicatorConfig, RoleConfig
from khala.config.values import check_name, parse
from khala.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A role's settings, and what its operator should be told about them."""

    config: RoleConfig
    warnings: tuple[str, ...] = ()


def resolve(
    role: str, options: Mapping[str, Sequence[str]], environment: Mapping[str, str], file: Path | None = None
) -> Resolved:
    """The settings of `role` (a key of ROLES). `options` has the texts of the flags given, by field.

    Raises ConfigurationError, which names the flag, the variable or the file's line that is wrong.
    """
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    layers = Layers(role, options, environment, file)
    flags = flags_of(ROLES[role])
    given = {flag.field: found for flag in flags if (found := layers.find(flag)) is not None}
    values: dict[str, Any] = {
        flag.field: parse(flag, given[flag.field].texts, given[flag.field].source)
        for flag in flags
        if flag.field in given and not flag.ignored
    }
    warnings = [
        f"{given[flag.field].source} has no effect: {flag.ignored}"
        for flag in flags
        if flag.ignored and flag.field in given
    ]
    sources = {field: found.source for field, found in given.items()}
    _take_secret(values, given, warnings)
    config = ROLES[role](**values)
    host = Host(environment, config.docker_sock)
    config = _fill_in(_settle(config, flags, host, sources), role)
    _check(config, role, sources)
    return Resolved(config=config, warnings=tuple(warnings))


def _take_secret(values: dict[str, Any], given: Mapping[str, Given], warnings: list[str]) -> None:
    """Read the secret's file, unless a stronger layer gives the secret itself."""
    path = values.get("secret_file")
    if path is None or ("secret" in given and given["secret"].layer < given["secret_file"].layer):
        return
    source = given["secret_file"].source
    if "secret" in given and given["secret"].layer == given["secret_file"].layer:
        raise ConfigurationError(f"{given['secret'].source} and {source} are both given: leave one out")
    try:
        values["secret"] = path.read_text().strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigurationError(f"{source}: cannot read the secret from {path}: {failure}") from failure
    if not values["secret"]:
        raise ConfigurationError(f"{source}: {path} is empty: write the cluster's secret into it")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        warnings.append(f"{source}: others on this host can read {path}: chmod 600 {path}")


def _settle(config: RoleConfig, flags: Sequence[Flag], host: Host, sources: Mapping[str, str]) -> RoleConfig:
    """Replace what stands for something else: ENV, DOCKER, interfaces, ports told to others."""
    found: dict[str, Any] = {}
    for flag in flags:
        value, source = getattr(config, flag.field), sources.get(flag.field, flag.option)
        if flag.ignored:
            continue
        if flag.kind is Kind.NAME and value:
            found[flag.field] = check_name(host.name(value, source), source)
        elif flag.kind is Kind.ADDRESS:
            found[flag.field] = host.address(value, source)
        elif flag.kind is Kind.ADVERTISED_PORT:
            listen_port = getattr(config, flag.field.replace("advertise", "listen"))
            found[flag.field] = (
                host.published_port(listen_port, source) if value == DOCKER else value or listen_port
            )
    return dataclasses.replace(config, **found)


def _fill_in(config: RoleConfig, role: str) -> RoleConfig:
    """Work out the defaults that depend on the host or on other settings."""
    found: dict[str, Any] = {"main_name": config.main_name or host_name()}
    found["auth"] = config.auth or ("token" if config.secret else "none")
    if config.data_dir == Path():
        found["data_dir"] = Path("~/.local/share").expanduser() / f"khala-{role}"
    if isinstance(config, JudicatorConfig):
        found["etcd_name"] = config.etcd_name or found["main_name"]
        found["mongodb_name"] = config.mongodb_name or found["main_name"]
    if isinstance(config, ExecutorConfig):
        found["main_task_vacant"] = config.main_task_vacant or cpu_count()
        found["cpus"] = config.cpus or cpus_offered()
        found["memory"] = config.memory or memory_bytes()
    return dataclasses.replace(config, **found)


def _check(config: RoleConfig, role: str, sources: Mapping[str, str]) -> None:
    for field in ("main_report_interval", "retry_interval", "boot_check_interval", "uwsgi_processes"):
        if getattr(config, field, 1) <= 0:
            raise ConfigurationError(f"{sources.get(field, field)}: must be more than 0")
    if role != "judicator" and not (config.etcd_cluster_join_member_client or config.etcd_cluster_service):
        raise ConfigurationError(
            f"which cluster does this {role} belong to? "
            "Give --etcd-cluster-join-member-client=http://JUDICATOR:2001 "
            "(or --etcd-cluster-service=NAME where a DNS name stands for all judicators)"
        )
