"""The two protocols of the front door, each with the generator that asks over it."""

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from load.front_door.scenario import NUMBER, Callers, Model
from load.measuring import ghz, wrk
from load.measuring.ghz import Call
from load.measuring.rpc import Rpc
from load.measuring.speed import Outcome, TimedLoad
from load.measuring.wrk import RestRequest

_STUBS, _SERVICE = "shoal.agent.v1.agent_pb2", "AgentService"
PATH = "/api/v1/task"
# Envoy compresses for whoever likes it.
_REST_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_LAST_EVENT = "data: [DONE]"


@dataclass(frozen=True, slots=True)
class Generators:
    """The programs that make load."""

    ghz: str
    wrk: str

    @classmethod
    async def found(cls) -> "Generators":
        """Raises MeasurementError if one is missing and cannot be built."""
        return cls(await ghz.find(), await wrk.find())


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks a mesh as callers do."""

    generators: Generators
    address: str
    api_key: str
    callers: Callers
    model: Model
    series: int
    """Makes the numbers of this run unlike those of others."""

    async def by_grpc(self, load: TimedLoad) -> Outcome:
        call = grpc_call(self.callers, self.model, self.series, self.api_key)
        return await ghz.measure_for(self.generators.ghz, self.address, call, load)

    async def by_rest(self, load: TimedLoad) -> Outcome:
        request = rest_request(self.callers, self.model, self.series, self.api_key)
        return await wrk.measure(self.generators.wrk, f"http://{self.address}{PATH}", request, load)


Ask = Callable[[Asking, TimedLoad], Coroutine[None, None, Outcome]]
Protocol = Literal["gRPC", "REST"]

PROTOCOLS: Mapping[Protocol, Ask] = MappingProxyType({"gRPC": Asking.by_grpc, "REST": Asking.by_rest})
"""By the names that tables show."""


def grpc_call(callers: Callers, model: Model, series: int, api_key: str) -> Call:
    """What ghz repeats."""
    number = f"{series}.{{{{.RequestNumber}}}}"
    limit = callers.tokens_at_most(model)
    sampling = {"max_tokens": limit} if limit else {}
    turns = [{"task": words.replace(NUMBER, number), "sampling": sampling} for words in callers.cycle(model)]
    requests = [{"turn": turn} for turn in turns] if callers.stream else turns
    rpc = Rpc(_STUBS, _SERVICE, "ExecuteStream" if callers.stream else "Execute")
    return Call(rpc, json.dumps(requests), {"x-api-key": api_key})


def rest_request(callers: Callers, model: Model, series: int, api_key: str) -> RestRequest:
    """What wrk repeats."""
    number = f"{series}.{{number}}"
    bodies = [
        json.dumps(rest_body(words.replace(NUMBER, number), callers, model) | {"stream": callers.stream})
        for words in callers.cycle(model)
    ]
    ending = _LAST_EVENT if callers.stream else ""
    return RestRequest("POST", {**_REST_HEADERS, "X-API-Key": api_key}, bodies, ending=ending)


def rest_body(task: str, callers: Callers, model: Model) -> dict[str, Any]:
    """A task of theirs, asked for as a whole answer."""
    limit = callers.tokens_at_most(model)
    return {"task": task, "max_tokens": limit} if limit else {"task": task}
