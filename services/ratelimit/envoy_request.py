"""Envoy's question: how large one may be, and what those of our own Envoy say."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from meshkit.errors import field_invalid
from services.ratelimit.callers import Asker
from services.ratelimit.credentials import keys_in
from services.ratelimit.limits import OTHER_ROUTE
from shoal.external.rls_pb2 import RateLimitDescriptor, RateLimitRequest

MAX_BYTES = 256 * 1024
"""Of a whole question."""
MOST_DESCRIPTORS = 100
MOST_ENTRIES = 32


class Surface(StrEnum):
    """Which of our APIs the client speaks, and so in which shape it reads errors."""

    GRPC = "grpc"
    REST = "rest"
    OPENAI = "openai"


_SURFACES: Mapping[str, Surface] = MappingProxyType({surface.value: surface for surface in Surface})


class Question(msgspec.Struct, frozen=True):
    """May this request go on?"""

    asker: Asker
    surface: Surface
    route: str
    """What is asked for, as the limits name it."""
    request_id: str
    descriptors: int
    """How many descriptors want a status in the answer."""


def check_size(request: RateLimitRequest) -> None:
    """Raises ShoalError FIELD_INVALID for more parts than anybody needs: each costs time. For all domains."""
    descriptors = request.descriptors
    if not 1 <= len(descriptors) <= MOST_DESCRIPTORS:
        raise field_invalid("descriptors", f"have 1 to {MOST_DESCRIPTORS} descriptors")
    for descriptor in descriptors:
        if not 1 <= len(descriptor.entries) <= MOST_ENTRIES:
            raise field_invalid("descriptors", f"have 1 to {MOST_ENTRIES} entries each")


def parse(request: RateLimitRequest) -> Question:
    """Raises ShoalError INVALID_ARGUMENT for what our Envoy's configuration never sends."""
    check_size(request)
    if request.hits_addend > 1:
        raise field_invalid("hits_addend", "be left out: each request spends one token")
    descriptors = [_entries(descriptor) for descriptor in request.descriptors]
    main = next((entries for entries in descriptors if "masked_remote_address" in entries), None)
    if main is None:
        raise field_invalid("descriptors", "have one with the entry 'masked_remote_address'")
    asker = Asker(
        address=main["masked_remote_address"],
        api_keys=keys_in(x_api_key=main.get("x_api_key"), authorization=main.get("authorization")),
    )
    return Question(asker, _surface(main), main.get("route", OTHER_ROUTE), main.get("request_id", ""), len(descriptors))


def _entries(descriptor: RateLimitDescriptor) -> dict[str, str]:
    if descriptor.HasField("hits_addend") or descriptor.is_negative_hits:
        raise field_invalid("descriptors", "have no hits of their own: each request spends one token")
    # A header may hold any bytes; those that are no UTF-8 make a value that nothing equals.
    return {entry.key: entry.value.decode("utf-8", "replace") for entry in descriptor.entries}


def _surface(entries: dict[str, str]) -> Surface:
    surface = _SURFACES.get(entries.get("surface", ""))
    if surface is None:
        raise field_invalid("descriptors", f"have the entry 'surface', one of {', '.join(Surface)}")
    return surface
