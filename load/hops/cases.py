"""The kinds of requests whose way is measured, as each client asks them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from load.measuring.ghz import Call
from load.measuring.rpc import Rpc
from load.measuring.wrk import RestRequest

PATH = "/api/v1/task"
_EXECUTE = Rpc("shoal.agent.v1.agent_pb2", "AgentService", "Execute")
_LAST_EVENT = "data: [DONE]"


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of request. No two kinds ask the same."""

    name: str
    is_grpc: bool = False
    is_cached: bool = False
    is_streamed: bool = False

    def task(self, number: object) -> str:
        """What is cached is asked alike each time."""
        return f"Describe a shoal, {self.name}." if self.is_cached else f"Describe shoal {number}, {self.name}."

    def rest_headers(self, api_key: str) -> dict[str, str]:
        # Envoy compresses for whoever likes it.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "X-API-Key": api_key}
        return headers if self.is_cached else {**headers, "Cache-Control": "no-store"}

    def rest_body(self, number: object) -> str:
        return json.dumps({"task": self.task(number), "stream": self.is_streamed})

    def grpc_message(self, number: object) -> Mapping[str, Any]:
        """An ExecuteRequest."""
        mode = "CACHE_MODE_UNSPECIFIED" if self.is_cached else "CACHE_MODE_BYPASS"
        return {"task": self.task(number), "cache": {"mode": mode}}

    def for_wrk(self, api_key: str) -> RestRequest:
        ending = _LAST_EVENT if self.is_streamed else ""
        return RestRequest("POST", self.rest_headers(api_key), [self.rest_body("{number}")], ending=ending)

    def for_ghz(self, api_key: str) -> Call:
        message = json.dumps(self.grpc_message("{{.RequestNumber}}"))
        return Call(_EXECUTE, message, {"x-api-key": api_key})


CASES: Sequence[Case] = (
    Case("REST, cached", is_cached=True),
    Case("REST, not cached"),
    Case("gRPC, cached", is_grpc=True, is_cached=True),
    Case("gRPC, not cached", is_grpc=True),
    Case("REST, streamed", is_streamed=True),
)
