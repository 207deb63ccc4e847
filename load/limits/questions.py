"""What Envoy asks, serialised, and what the answers say."""

from collections.abc import Mapping
from typing import TypeAlias

import grpc

from load.measuring.generator import MeasurementError
from load.measuring.rpc import Rpc
from meshkit.channel import open_channel
from shoal.external.rls_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse

RPC = Rpc("shoal.external.rls_pb2", "RateLimitService", "ShouldRateLimit")
_TIMEOUT_SECONDS = 10.0

Ask: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
"""The RPC, of serialised questions and answers."""


def from_client(address: str, *, api_key: str | None) -> bytes:
    """The question that the front door's Envoy asks about a request from an address."""
    entries = {
        "masked_remote_address": address,
        "surface": "rest",
        "route": "task",
        "request_id": "00000000-0000-4000-8000-000000000000",
    }
    return asked("shoal", entries if api_key is None else {**entries, "x_api_key": api_key})


def asked(domain: str, entries: Mapping[str, str]) -> bytes:
    """A question with one descriptor."""
    listed = [RateLimitDescriptor.Entry(key=key, value=value.encode()) for key, value in entries.items()]
    descriptors = [RateLimitDescriptor(entries=listed)]
    return RateLimitRequest(domain=domain, descriptors=descriptors).SerializeToString()


async def admits(address: str, question: bytes) -> bool:
    """Whether the limiter at that address, asked once, lets the request go on."""
    async with open_channel(address) as channel:
        ask: Ask = channel.unary_unary(RPC.path)
        return is_admitted(await ask(question, wait_for_ready=True, timeout=_TIMEOUT_SECONDS))


def is_admitted(answer: bytes) -> bool:
    """Whether the request may go on. Raises MeasurementError for an answer that says neither yes nor no."""
    code = RateLimitResponse.FromString(answer).overall_code
    if code == RateLimitResponse.UNKNOWN:
        raise MeasurementError("the limiter did not decide")
    return code == RateLimitResponse.OK
