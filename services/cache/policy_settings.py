"""Policies by configuration: `response.ttl=1800, response.levels=l1+l2+l3` over the defaults."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from services.cache.policies import LevelName, Policy, PolicyName

LONGEST_SECONDS = 31_536_000.0
"""A year."""
MOST_BYTES = 48 * 1024 * 1024
"""What can be given out in one message."""
MOST_EVENTS = 10_000
WHOLE = frozenset({PolicyName.RESPONSE, PolicyName.MODEL_OUTPUT})
"""The kinds whose events are only useful together."""


class PolicySettingsError(ValueError):
    """The overrides cannot be used. `faults` has one sentence for each thing to mend."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class _Field:
    """What can be set of a policy."""

    attribute: str
    read: Callable[[str], Any]
    """Raises ValueError for what is not allowed."""
    allowed: str


def policies_with(overrides: str, *, defaults: Mapping[PolicyName, Policy]) -> Mapping[PolicyName, Policy]:
    """The defaults with comma-separated overrides `policy.field=value`. Raises PolicySettingsError with all faults."""
    faults: list[str] = []
    changes: dict[PolicyName, dict[str, Any]] = {name: {} for name in defaults}
    for override in filter(None, (part.strip() for part in overrides.split(","))):
        try:
            name, attribute, value = _read(override)
            if attribute in changes[name]:
                raise ValueError(f"{override!r} sets what is set before; set it once")
            changes[name][attribute] = value
        except ValueError as fault:
            faults.append(str(fault))
    policies = {name: replace(policy, **changes[name]) for name, policy in defaults.items()}
    faults += [fault for policy in policies.values() for fault in _faults(policy)]
    if faults:
        raise PolicySettingsError(faults)
    return MappingProxyType(policies)


def _read(override: str) -> tuple[PolicyName, str, Any]:
    """Raises ValueError that says what is allowed."""
    left, equals, value = (part.strip() for part in override.partition("="))
    policy, dot, name = (part.strip() for part in left.partition("."))
    if override in LevelName.__members__.values():
        raise ValueError(f"{override!r} is no override; join levels by +, such as response.levels=l1+l2")
    if not equals or not dot:
        raise ValueError(f"{override!r} is no override; write it as policy.field=value, such as response.ttl=1800")
    if policy not in PolicyName.__members__.values():
        raise ValueError(f"{override!r} names no policy; there are {', '.join(PolicyName)}")
    if name not in _FIELDS:
        raise ValueError(f"{override!r} names no field; there are {', '.join(_FIELDS)}")
    field = _FIELDS[name]
    try:
        return PolicyName(policy), field.attribute, field.read(value)
    except ValueError:
        raise ValueError(f"{override!r} cannot be: {name} is {field.allowed}") from None


def _faults(policy: Policy) -> list[str]:
    """What single fields cannot say."""
    faults = [_bounds_fault(policy)]
    if policy.keeps_last is not None and policy.name in WHOLE:
        faults.append("keeps_last must be all: the events of this kind are only useful together")
    return [f"{policy.name}: {fault}" for fault in faults if fault]


def _bounds_fault(policy: Policy) -> str:
    """Empty if the time to live can be tuned within its bounds, or has none."""
    shortest, longest = policy.ttl_min_seconds, policy.ttl_max_seconds
    if shortest is None and longest is None:
        return ""
    if shortest is None or longest is None:
        return "ttl_min and ttl_max must be set together, or neither"
    if shortest > longest:
        return f"ttl_min ({shortest:.12g}) must not be above ttl_max ({longest:.12g})"
    if not shortest <= policy.ttl_seconds <= longest:
        bounds = f"ttl_min ({shortest:.12g}) and ttl_max ({longest:.12g})"
        return f"ttl ({policy.ttl_seconds:.12g}) must lie between {bounds}"
    return ""


def _seconds(text: str, *, least: float) -> float:
    seconds = float(text)
    if not least <= seconds <= LONGEST_SECONDS:
        raise ValueError(text)
    return seconds


def _count(text: str, *, most: int) -> int:
    count = int(text)
    if not 1 <= count <= most:
        raise ValueError(text)
    return count


def _events(text: str) -> int | None:
    return None if text == "all" else _count(text, most=MOST_EVENTS)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(text)
    return text == "yes"


def _levels(text: str) -> tuple[LevelName, ...]:
    """Nearest first, in whichever order they are named."""
    named = [LevelName(name.strip()) for name in text.split("+")]
    if len(set(named)) < len(named):
        raise ValueError(text)
    return tuple(sorted(named))


_TTL = partial(_seconds, least=1)
_TTL_ALLOWED = f"1 to {LONGEST_SECONDS:.0f} seconds"

_FIELDS: Mapping[str, _Field] = MappingProxyType(
    {
        "ttl": _Field("ttl_seconds", _TTL, _TTL_ALLOWED),
        "ttl_min": _Field("ttl_min_seconds", _TTL, _TTL_ALLOWED),
        "ttl_max": _Field("ttl_max_seconds", _TTL, _TTL_ALLOWED),
        "stale": _Field("stale_seconds", partial(_seconds, least=0), f"0 to {LONGEST_SECONDS:.0f} seconds"),
        "levels": _Field("levels", _levels, "one or more of l1, l2 and l3, joined by +"),
        "max_bytes": _Field("max_bytes", partial(_count, most=MOST_BYTES), f"1 to {MOST_BYTES} bytes"),
        "compress": _Field("compress", _yes_or_no, "yes or no"),
        "keeps_last": _Field("keeps_last", _events, f"1 to {MOST_EVENTS} events, or all"),
    }
)
