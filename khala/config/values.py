"""From a setting's text to its value, or to an error that names the flag and the next step. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from khala.config.flags import Flag, Kind
from khala.errors import ConfigurationError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off", ""})


def parse(flag: Flag, texts: Sequence[str], source: str) -> object:
    """The value of `flag` given as `texts` (all but pairs take the last one) by `source`."""
    if flag.kind is Kind.PAIRS:
        return _pairs(texts, source)
    text = texts[-1].strip()
    if flag.choices and text not in flag.choices:
        raise _wrong(source, text, f"one of {', '.join(flag.choices)}")
    return _PARSERS[flag.kind](text, source)


def parse_size(text: str, source: str) -> int:
    """Bytes from `1048576`, `512M`, `8G`, `8GiB`; the units are powers of 1024."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise _wrong(source, text, "a size such as 512M or 8G (1G is 1024 MiB)")
    return int(float(found.group(1)) * _SIZE_UNITS[found.group(2).upper()])


def check_name(name: str, source: str) -> str:
    """The name itself, if it can be part of a key, a path and an address."""
    if not NAME.fullmatch(name):
        raise _wrong(
            source, name, "a name of letters, digits, '.', '_' and '-' that begins with a letter or digit"
        )
    return name


def _wrong(source: str, text: str, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"{source}: {text!r} is not {wanted}")


def _text(text: str, source: str) -> str:
    del source
    return text


def _needed(text: str, source: str) -> str:
    if not text:
        raise _wrong(source, text, "an address: give a host name, an IP address, DOCKER or an interface")
    return text


def _port(text: str, source: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 65535:
        raise _wrong(source, text, "a port from 1 to 65535")
    return int(text)


def _advertised_port(text: str, source: str) -> int | str:
    return text if text == "DOCKER" else _port(text, source)


def _count(text: str, source: str) -> int:
    if not text.isdecimal():
        raise _wrong(source, text, "a whole number from 0 up")
    return int(text)


def _number(text: str, source: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise _wrong(source, text, "a number from 0 up")
    return number


def _switch(text: str, source: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise _wrong(source, text, "true or false")


def _url(text: str, source: str) -> str:
    for one in filter(None, text.split(",")):
        parts = urlsplit(one)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _wrong(source, one, "a URL such as http://judicator-1:2001")
    return text


def _digest(text: str, source: str) -> str:
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise _wrong(source, text, "a SHA-256 digest (64 lowercase hexadecimal digits)")
    return text


def _path(text: str, source: str) -> Path:
    if not text:
        raise _wrong(source, text, "a path")
    return Path(text).expanduser().absolute()


def _pairs(texts: Sequence[str], source: str) -> Mapping[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not NAME.fullmatch(key):
            raise _wrong(source, text, "a pair such as zone=a")
        pairs[key] = value
    return pairs


_PARSERS: Mapping[Kind, Callable[[str, str], object]] = {
    Kind.TEXT: _text,
    Kind.PATH: _path,
    Kind.NAME: _text,
    Kind.ADDRESS: _needed,
    Kind.URL: _url,
    Kind.PORT: _port,
    Kind.ADVERTISED_PORT: _advertised_port,
    Kind.COUNT: _count,
    Kind.SECONDS: _number,
    Kind.NUMBER: _number,
    Kind.SIZE: parse_size,
    Kind.DIGEST: _digest,
    Kind.SWITCH: _switch,
}
