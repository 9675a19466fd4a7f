"""The settings of a node: names written once, read from flags, environment and file, checked at start."""

from khala.config.flags import Flag, Kind, flags_of
from khala.config.resolve import Resolved, resolve
from khala.config.roles import ROLES, ExecutorConfig, GatewayConfig, JudicatorConfig, RoleConfig
from khala.config.values import parse_size

__all__ = [
    "ROLES",
    "ExecutorConfig",
    "Flag",
    "GatewayConfig",
    "JudicatorConfig",
    "Kind",
    "Resolved",
    "RoleConfig",
    "flags_of",
    "parse_size",
    "resolve",
]
