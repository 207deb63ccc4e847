"""Directives: what a prompt can order for its own call, as `[[status=500]]` or `[[tool=search {"q": 1}]]`."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from load.simulated_model.answer import ToolCall
from load.simulated_model.faults import Cut, Fault, Garble, Hang, Refuse, Stall

MAX_TOKENS = 100_000
MIN_TOKENS_PER_SECOND = 0.1
MAX_SECONDS = 3600.0


class DirectiveError(ValueError):
    """A directive that is unknown or has a value it cannot have."""


@dataclass(frozen=True, slots=True)
class Directives:
    """What a prompt orders; None and () leave the matter to the server's options."""

    fault: Fault | None = None
    first_token: float | None = None
    """Seconds until the first token."""
    tokens_per_second: float | None = None
    tokens: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()


_OPENING = re.compile(r"\[\[(?=[a-z_]+(?:=|\]\]))")
_TOOL = re.compile(r"tool=([\w-]+)\s*")
_PLAIN = re.compile(r"([a-z_]+)(?:=([^\[\]]*))?\]\]")


def parse_directives(prompt: str) -> tuple[Directives, str]:
    """The directives in a prompt, and the prompt without them. The last of a kind wins; tool calls add up.

    Raises DirectiveError.
    """
    directives, kept, position = Directives(), [], 0
    while opening := _OPENING.search(prompt, position):
        kept.append(prompt[position : opening.start()])
        directives, position = _read(directives, prompt, opening.end())
    kept.append(prompt[position:])
    return directives, "".join(kept).strip()


def _read(directives: Directives, prompt: str, start: int) -> tuple[Directives, int]:
    """Add the directive whose name begins at `start`; also returns where it ends."""
    if tool := _TOOL.match(prompt, start):
        return _read_tool(directives, prompt, tool)
    found = _PLAIN.match(prompt, start)
    if not found:
        raise DirectiveError(f"the directive [[{prompt[start : start + 40]} is not closed by ]]")
    name, value = found.groups()
    if name in _FLAGS and value is None:
        return _FLAGS[name](directives), found.end()
    if name in _VALUES and value is not None:
        return _VALUES[name](directives, value), found.end()
    raise DirectiveError(f"there is no directive [[{found.group()}; known are {', '.join(directive_forms())}")


def _read_tool(directives: Directives, prompt: str, found: re.Match[str]) -> tuple[Directives, int]:
    """Read the arguments as JSON, since they may hold `]]` themselves."""
    name, start = found.group(1), found.end()
    end = start
    if not prompt.startswith("]]", start):
        try:
            end = json.JSONDecoder().raw_decode(prompt, start)[1]
        except json.JSONDecodeError as error:
            raise DirectiveError(f"the arguments of [[tool={name} ...]] are not JSON: {error}") from error
    closing = re.compile(r"\s*\]\]").match(prompt, end)
    if not closing:
        raise DirectiveError(f"[[tool={name} ...]] is not closed by ]] after its arguments")
    call = ToolCall(name, prompt[start:end] or "{}")
    return replace(directives, tool_calls=(*directives.tool_calls, call)), closing.end()


def _whole(text: str, low: int, high: int) -> int:
    if not (text.isdecimal() and low <= int(text) <= high):
        raise DirectiveError(f"{text!r} in a directive is not a whole number from {low} to {high}")
    return int(text)


def _number(text: str, low: float, high: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:  # NaN fails too
        raise DirectiveError(f"{text!r} in a directive is not a number from {low:g} to {high:g}")
    return number


_FLAGS: dict[str, Callable[[Directives], Directives]] = {
    "hang": lambda found: replace(found, fault=Hang()),
    "garbage": lambda found: replace(found, fault=Garble()),
    "empty": lambda found: replace(found, tokens=0),
}

_VALUES: dict[str, Callable[[Directives, str], Directives]] = {
    "status": lambda found, value: replace(found, fault=Refuse(_whole(value, 400, 599))),
    "hang_after": lambda found, value: replace(found, fault=Stall(_whole(value, 0, MAX_TOKENS))),
    "break_after": lambda found, value: replace(found, fault=Cut(_whole(value, 0, MAX_TOKENS))),
    "first_token": lambda found, value: replace(found, first_token=_number(value, 0, MAX_SECONDS)),
    "tokens_per_second": lambda found, value: replace(
        found, tokens_per_second=_number(value, MIN_TOKENS_PER_SECOND, MAX_TOKENS)
    ),
    "tokens": lambda found, value: replace(found, tokens=_whole(value, 0, MAX_TOKENS)),
}


def directive_forms() -> list[str]:
    """How each directive is written."""
    return [f"[[{name}]]" for name in _FLAGS] + [f"[[{name}=...]]" for name in _VALUES] + ["[[tool=NAME {...}]]"]
