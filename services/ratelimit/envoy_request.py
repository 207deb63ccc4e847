"""Envoy's question, read: the descriptors of the domain that our own Envoy is configured with."""

from dataclasses import dataclass
from enum import StrEnum

from meshkit.errors import field_invalid
from services.ratelimit.callers import Asker
from services.ratelimit.credentials import keys_in
from services.ratelimit.limits import OTHER_ROUTE
from shoal.external.rls_pb2 import RateLimitDescriptor, RateLimitRequest


class Surface(StrEnum):
    """Which of our APIs the client speaks, and so in which shape it reads errors."""

    GRPC = "grpc"
    REST = "rest"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class Question:
    """May this request go on?"""

    asker: Asker
    surface: Surface
    route: str
    """What is asked for, as the limits name it."""
    request_id: str
    descriptors: int
    """How many descriptors want a status in the answer."""


def parse(request: RateLimitRequest) -> Question:
    """Raises ShoalError INVALID_ARGUMENT for what our Envoy's configuration never sends."""
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
    return {entry.key: entry.value.decode(errors="replace") for entry in descriptor.entries}


def _surface(entries: dict[str, str]) -> Surface:
    try:
        return Surface(entries.get("surface", ""))
    except ValueError:
        raise field_invalid("descriptors", f"have the entry 'surface', one of {', '.join(Surface)}") from None
