"""The ways to ask a mesh, each many times over."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

import aiohttp

from load.measuring import ghz, rest
from load.measuring.generator import MeasurementError
from load.measuring.ghz import Call
from load.measuring.rest import Request
from load.measuring.rpc import Rpc
from load.measuring.speed import Load, Speed

NUMBER = "{number}"
"""In a task it stands for the number of the request, so that no task is like another."""

_EXECUTE = Rpc("shoal.agent.v1.agent_pb2", "AgentService", "Execute")
_PATH = "/api/v1/task"
# Envoy compresses for whoever likes it.
_REST_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks the mesh at an address with an API key. Every way raises MeasurementError if not all is answered well."""

    generator: str
    address: str
    api_key: str

    async def post(self, task: str, load: Load) -> Speed:
        body = json.dumps({"task": task})
        return await rest.measure(Request("POST", f"http://{self.address}{_PATH}", self._headers(), body), load)

    async def get(self, task: str, load: Load) -> Speed:
        """Of a task that is always the same the caller has the answer already, and is told so: 304."""
        if NUMBER in task:
            return await rest.measure(Request("GET", self._url(task), self._headers()), load)
        held = {"If-None-Match": await self._etag(task)}
        return await rest.measure(Request("GET", self._url(task), self._headers() | held, status=304), load)

    async def execute(self, task: str, load: Load) -> Speed:
        """By gRPC."""
        request = json.dumps({"task": task.replace(NUMBER, "{{.RequestNumber}}")})
        call = Call(_EXECUTE, request, {"x-api-key": self.api_key})
        return await ghz.measure(self.generator, self.address, call, load)

    async def _etag(self, task: str) -> str:
        async with aiohttp.request("GET", self._url(task), headers=self._headers()) as response:
            if "ETag" not in response.headers:
                raise MeasurementError(f"a GET was answered {response.status} without an ETag")
            return response.headers["ETag"]

    def _url(self, task: str) -> str:
        return f"http://{self.address}{_PATH}?task={quote(task, safe=NUMBER)}"

    def _headers(self) -> dict[str, str]:
        return {**_REST_HEADERS, "X-API-Key": self.api_key}


Way = Callable[[Asking, str, Load], Awaitable[Speed]]

WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "REST, POST": Asking.post,
        "REST, GET with If-None-Match": Asking.get,
        "gRPC, Execute": Asking.execute,
    }
)
"""By the names that tables show."""
