"""Files with the rules of a domain, in the format of envoyproxy/ratelimit.

Added to that format: `burst` in a rate limit, how many requests may come at once. Read and without meaning here:
`detailed_metric` and `value_to_metric`, since metrics never tell values apart.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, NoReturn

import msgspec

from services.ratelimit import yaml_lines
from services.ratelimit.domains.domain import OUR_DOMAIN, WILDCARD, Branch, Domain, Level, Rate, Rule, Unit
from services.ratelimit.watched_files import Texts, naming
from services.ratelimit.yaml_lines import YamlPath, fault_at

Domains = Mapping[str, Domain]
"""Domains by their names."""

UInt32 = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


class _Replaces(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name


class _RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: str | None = None
    requests_per_unit: UInt32 | None = None
    burst: UInt32 | None = None
    unlimited: bool = False
    name: str | None = None
    replaces: list[_Replaces] | None = None


class _Descriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: Name
    value: str | None = None
    rate_limit: _RateLimit | None = None
    shadow_mode: bool = False
    share_threshold: bool = False
    descriptors: list["_Descriptor"] | None = None
    detailed_metric: bool = False
    value_to_metric: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: Name
    descriptors: list[_Descriptor] | None = None


def read_domains(files: Texts) -> Domains:
    """The domains of files, one in each. Raises ValueError naming the file and the line at fault."""
    domains: dict[str, Domain] = {}
    for file, text in files.items():
        with naming(file):
            domain = read_domain(text)
            if domain.name in domains:
                raise fault_at(text, ["domain"], f"the domain {domain.name!r} is in another file already")
            domains[domain.name] = domain
    return domains


def read_domain(text: str) -> Domain:
    """The domain of a file. Raises FaultyFileError."""
    return _Reader(text).domain()


class _Reader:
    """Makes rules of what a file says. `path` leads to the part that is read, for the line of a fault."""

    def __init__(self, text: str) -> None:
        self._text = text

    def domain(self) -> Domain:
        file = yaml_lines.read(self._text, _File)
        if file.domain == OUR_DOMAIN:
            self._refuse(["domain"], f"the domain {OUR_DOMAIN!r} is for Shoal's own Envoy; choose another")
        return Domain(file.domain, self._level(file.descriptors or (), ["descriptors"]))

    def _level(self, descriptors: Sequence[_Descriptor], path: YamlPath) -> Level:
        branches: dict[tuple[str, str], Branch] = {}
        for number, descriptor in enumerate(descriptors):
            branch = self._branch(descriptor, [*path, number])
            if (branch.key, branch.value) in branches:
                value = f"value {branch.value!r}" if branch.value else "any value"
                self._refuse([*path, number], f"the key {branch.key!r} with {value} is there twice")
            branches[branch.key, branch.value] = branch
        return Level(branches.values())

    def _branch(self, descriptor: _Descriptor, path: YamlPath) -> Branch:
        value = descriptor.value or ""
        if descriptor.share_threshold and not value.endswith(WILDCARD):
            self._refuse([*path, "share_threshold"], f"only a value that ends in {WILDCARD} can share a bucket")
        return Branch(
            key=descriptor.key,
            value=value,
            rule=self._rule(descriptor.rate_limit, descriptor.shadow_mode, [*path, "rate_limit"]),
            shares_bucket=descriptor.share_threshold,
            branches=self._level(descriptor.descriptors or (), [*path, "descriptors"]),
        )

    def _rule(self, limit: _RateLimit | None, shadow: bool, path: YamlPath) -> Rule | None:
        if limit is None:
            return None
        replaces = [replaced.name for replaced in limit.replaces or ()]
        if limit.name in replaces:
            self._refuse([*path, "replaces"], "a limit cannot replace itself")
        return Rule(self._rate(limit, path), limit.name or "", frozenset(replaces), shadow)

    def _rate(self, limit: _RateLimit, path: YamlPath) -> Rate | None:
        if limit.unlimited:
            if limit.unit is not None or limit.burst is not None:
                self._refuse([*path, "unlimited"], "an unlimited rate has no unit and no burst")
            return None
        if limit.unit is None or limit.requests_per_unit is None:
            self._refuse(path, "a rate limit needs unit and requests_per_unit, or unlimited: true")
        try:
            unit = Unit(limit.unit.lower())
        except ValueError:
            self._refuse([*path, "unit"], f"{limit.unit!r} is no unit; write one of {', '.join(Unit)}")
        if limit.burst is not None and not limit.requests_per_unit:
            self._refuse([*path, "burst"], "where no request may ever pass, there is no burst")
        try:
            return Rate.of(limit.requests_per_unit, unit, burst=limit.burst)
        except ValueError as error:
            self._refuse([*path, "burst"], str(error))

    def _refuse(self, path: YamlPath, message: str) -> NoReturn:
        raise fault_at(self._text, path, message)
