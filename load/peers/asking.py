"""What everybody is asked: one chat completion of OpenAI's, always the same, plain or streamed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

from load.measuring.generator import MeasurementError
from load.measuring.ghz import Call
from load.measuring.rpc import Rpc
from load.measuring.wrk import RestRequest

Kind = Literal["computed", "cached"]
"""Whether the answer comes from the model or from a cache."""

PATH = "/v1/chat/completions"
EXECUTE = Rpc("shoal.agent.v1.agent_pb2", "AgentService", "Execute")
"""The same of Shoal's own API."""
MODEL = "mock"
_TASK = "Describe a shoal of fish in a few sentences."
_COMPLETION = {
    "model": MODEL,
    "messages": [{"role": "user", "content": _TASK}],
    "max_tokens": 128,
}
_TIMEOUT = aiohttp.ClientTimeout(total=60)


def grpc_call(metadata: Mapping[str, str]) -> Call:
    return Call(EXECUTE, json.dumps({"task": _TASK, "sampling": {"max_tokens": 128}}), metadata)


@dataclass(frozen=True, slots=True)
class Ask:
    """How one of them is asked."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the body beside OpenAI's."""

    def request(self) -> RestRequest:
        return RestRequest("POST", self._headers, [json.dumps({**_COMPLETION, **self.extra})])

    def streamed(self, program: str, at_once: int, seconds: int) -> tuple[list[str], bytes]:
        """The command of the client of streams, and what it is sent."""
        headers = [part for name, value in self._headers.items() for part in ("-header", f"{name}: {value}")]
        command = [program, "-url", self.url, "-at-once", str(at_once), "-seconds", str(seconds), *headers]
        return command, json.dumps({**_COMPLETION, **self.extra, "stream": True}).encode()

    async def once(self) -> None:
        """Returns when it is answered. Raises MeasurementError if it is refused, ClientError without an answer."""
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.post(self.url, json={**_COMPLETION, **self.extra}, headers=self._headers) as response,
        ):
            text = await response.text()
            if response.status != 200:
                raise MeasurementError(f"a completion was answered {response.status}: {text[:300]}")

    @property
    def _headers(self) -> dict[str, str]:
        # Envoy compresses for whoever likes it.
        return {"Content-Type": "application/json", "Accept-Encoding": "identity", **self.headers}


@dataclass(frozen=True, slots=True)
class Answers:
    """Whether a completion is answered: what a process is ready for when it has started."""

    ask: Ask

    async def passes(self) -> bool:
        try:
            await self.ask.once()
        except (aiohttp.ClientError, MeasurementError):
            return False
        return True
