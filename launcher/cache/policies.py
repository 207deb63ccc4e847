"""The policies of the cache by the names that they have in the settings: those of the protocol without its prefix."""

from collections.abc import Mapping
from types import MappingProxyType

from shoal.cache.v1.cache_pb2 import POLICY_UNSPECIFIED, Policy


def policy_name(policy: Policy.ValueType) -> str:
    """Such as "response"."""
    return Policy.Name(policy).removeprefix("POLICY_").lower()


POLICIES: Mapping[str, Policy.ValueType] = MappingProxyType(
    {policy_name(value): value for value in Policy.values() if value != POLICY_UNSPECIFIED}
)
