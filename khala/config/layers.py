"""Where settings come from: the command line, then the environment, then a TOML file.

Reads the file; knows nothing of what the values mean.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from khala.config.flags import Flag, Kind, flags_of
from khala.config.roles import ROLES
from khala.errors import ConfigurationError

CONFIG_VARIABLE = "KHALA_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What somebody gave for a setting: its texts, who says so, and how strong that is (0 wins)."""

    texts: tuple[str, ...]
    source: str
    layer: int


class Layers:
    """The three layers of one role, asked flag by flag."""

    def __init__(
        self,
        role: str,
        options: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
        file: Path | None,
    ) -> None:
        self._options = options
        self._environment = environment
        self._file = file
        self._from_file = _read_file(role, file) if file is not None else {}

    def find(self, flag: Flag) -> Given | None:
        """The strongest value given for `flag`, or None: the default holds."""
        texts = self._options.get(flag.field)
        if texts:
            return Given(texts=tuple(texts), source=flag.option, layer=0)
        text = self._environment.get(flag.variable)
        if text is not None:
            return Given(
                texts=tuple(text.split(",")) if flag.kind is Kind.PAIRS else (text,),
                source=flag.variable,
                layer=1,
            )
        texts = self._from_file.get(flag.field)
        if texts:
            return Given(texts=tuple(texts), source=f"{flag.field} in {self._file}", layer=2)
        return None


def _read_file(role: str, file: Path) -> Mapping[str, tuple[str, ...]]:
    try:
        content = tomllib.loads(file.read_text())
    except OSError as failure:
        raise ConfigurationError(f"cannot read the settings file {file}: {failure.strerror}") from failure
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise ConfigurationError(f"the settings file {file} is not valid TOML: {failure}") from failure
    everywhere = {flag.field for kind in ROLES.values() for flag in flags_of(kind)}
    here = {flag.field for flag in flags_of(ROLES[role])}
    own_section = content.get(role, {})
    top = {key: value for key, value in content.items() if key not in ROLES}
    if not isinstance(own_section, dict):
        raise ConfigurationError(f"{file}: {role} must be a section [{role}]")
    found = {}
    for section, known in ((top, everywhere), (own_section, here)):
        for key, value in section.items():
            field = key.replace("-", "_")
            if field not in known:
                raise ConfigurationError(f"{file}: there is no setting {key!r}{_suggestion(field, known)}")
            found[field] = _texts(value, f"{field} in {file}")
    return found


def _suggestion(field: str, known: set[str]) -> str:
    close = difflib.get_close_matches(field, known, n=1)
    return f": did you mean {close[0]!r}?" if close else ""


def _texts(value: object, source: str) -> tuple[str, ...]:
    match value:
        case bool():
            return ("true" if value else "false",)
        case str() | int() | float():
            return (str(value),)
        case dict():
            return tuple(f"{key}={item}" for key, item in value.items())
        case list():
            return tuple(str(item) for item in value)
    raise ConfigurationError(f"{source}: a {type(value).__name__} cannot be a setting")
