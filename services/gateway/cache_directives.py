"""How a request may use the cache: what its body or query says, and the standard headers (RFC 9111, 5.2.1)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec
from starlette.datastructures import Headers

from meshkit.cache_control import tags_in
from meshkit.errors import field_invalid
from services.gateway.shapes import CacheMode, CacheShape

TAGS_HEADER = "Shoal-Cache-Tags"

_MODES: Mapping[str, CacheMode] = MappingProxyType(
    {"no-store": "bypass", "no-cache": "refresh", "only-if-cached": "only"}
)
_DIRECTIVE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+"?)++')
"""Commas within quotes separate nothing. A quote that is never closed reaches to the end of its line. Nothing is read
twice, however odd the line: it may be tens of kilobytes long."""
_ESCAPED = re.compile(r"\\(.)")
_SPACE = " \t"


def combined(asked: CacheShape, headers: Headers) -> CacheShape:
    """What the body asks for, with what the headers add: their mode if it is stricter, and their tags.

    `bypass` wins over everything, any mode over `default`. Raises ShoalError FIELD_INVALID where one wish is to compute
    the answer (refresh) and another not to (only).
    """
    tags = [*asked.tags, *(tag for line in headers.getlist(TAGS_HEADER) for tag in tags_in(line))]
    mode, tags = _mode({asked.mode, *_modes(headers)}), list(dict.fromkeys(tags))
    is_all = (mode, tags) == (asked.mode, asked.tags)
    return asked if is_all else msgspec.structs.replace(asked, mode=mode, tags=tags)


def _mode(wishes: set[CacheMode]) -> CacheMode:
    if "bypass" in wishes:
        return "bypass"
    if {"refresh", "only"} <= wishes:
        raise field_invalid("cache.mode", "not be refresh and only at once, be it here or by the header Cache-Control")
    (mode,) = wishes - {"default"} or {"default"}
    return mode


def _modes(headers: Headers) -> Iterator[CacheMode]:
    directives = list(_directives(headers.getlist("cache-control")))
    if not directives:
        # RFC 9111, 5.4: the word of HTTP/1.0, heeded only where that of HTTP/1.1 is missing.
        directives = [said for said in _directives(headers.getlist("pragma")) if said[0] == "no-cache"]
    for name, argument in directives:
        if name in _MODES:
            yield _MODES[name]
        elif name == "max-age" and argument and not argument.strip("0"):
            yield "refresh"


def _directives(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each directive's name in lower case, and its argument without quotes; "" if it has none."""
    for line in lines:
        for directive in _DIRECTIVE.findall(line):
            name, _, argument = directive.partition("=")
            if name := name.strip(_SPACE).lower():
                yield name, _unquoted(argument.strip(_SPACE))


def _unquoted(argument: str) -> str:
    if len(argument) < 2 or not argument.startswith('"') or not argument.endswith('"'):
        return argument
    return _ESCAPED.sub(r"\1", argument[1:-1])
