"""The OpenAPI description: complete, and nothing in it leads nowhere."""

import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from starlette.routing import Route

from meshkit.metrics import Metrics, NearHits
from meshkit.near_cache import NearCache
from meshkit.near_turns import NearTurns
from services.gateway import openapi
from services.gateway.agent_client import AgentClient
from services.gateway.description_routes import DescriptionRoutes
from services.gateway.health_routes import HealthRoutes
from services.gateway.openai_routes import OpenAIRoutes
from services.gateway.task_routes import TaskRoutes
from services.gateway.turns import Turns

DOCUMENT = openapi.document()
DESCRIPTIONS_THEMSELVES = {("get", "/openapi.json"), ("get", "/docs")}
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def nodes(value: Any) -> Iterator[Any]:
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


@pytest.fixture
async def routes() -> list[Route]:
    """All routes of the application. No agent is called."""
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        agent = AgentClient(channel)
        near = NearTurns(NearCache(seconds=0), hits=NearHits(Metrics()), replica="g", mint_id=str, clock=float)
        turns = Turns(agent=agent, near=near)
        return [
            *TaskRoutes(turns=turns, agent=agent, request_max_bytes=1).routes(),
            *OpenAIRoutes(turns=turns, agent=agent, request_max_bytes=1).routes(),
            *HealthRoutes(agent=agent, is_draining=lambda: False).routes(),
            *DescriptionRoutes().routes(),
        ]


def test_every_reference_leads_to_a_schema() -> None:
    references = {node["$ref"] for node in nodes(DOCUMENT) if isinstance(node, dict) and "$ref" in node}
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references == schemas


def test_names_of_schemas_say_nothing_of_our_modules() -> None:
    assert not [name for name in DOCUMENT["components"]["schemas"] if not re.fullmatch(r"[A-Za-z]+", name)]


async def test_every_route_is_described_and_every_description_has_a_route(routes: list[Route]) -> None:
    served = {(method.lower(), route.path_format) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    assert {(method, path) for method, path, _ in OPERATIONS} == served - DESCRIPTIONS_THEMSELVES


async def test_no_path_has_two_routes_so_that_a_405_names_all_methods(routes: list[Route]) -> None:
    paths = [route.path for route in routes]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_says_all_that_a_client_needs(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    in_path = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))
    problem = "OpenAIProblem" if path.startswith("/v1/") else "Problem"
    default = operation["responses"]["default"]
    assert default["content"]["application/json"]["schema"]["$ref"].endswith(f"/{problem}")
    assert ("requestBody" in operation) == (method in {"post", "put"})
    assert (operation.get("security") == []) == path.startswith("/health")


@pytest.mark.parametrize(
    ("method", "path"), [("post", "/api/v1/task"), ("get", "/api/v1/task"), ("post", "/v1/chat/completions")]
)
def test_what_can_stream_says_so(method: str, path: str) -> None:
    assert "text/event-stream" in DOCUMENT["paths"][path][method]["responses"]["200"]["content"]


def test_the_bounds_of_a_task_are_described() -> None:
    task = DOCUMENT["components"]["schemas"]["TaskBody"]
    assert task["required"] == ["task"]
    assert task["additionalProperties"] is False
    (number, _) = task["properties"]["temperature"]["anyOf"]
    assert (number["minimum"], number["maximum"]) == (0, 2)


def parameters(method: str, path: str, place: str) -> list[dict[str, Any]]:
    return [each for each in DOCUMENT["paths"][path][method]["parameters"] if each["in"] == place]


def test_a_query_takes_the_scalar_fields_of_a_task_and_those_of_cache_by_dotted_names() -> None:
    in_query = parameters("get", "/api/v1/task", "query")
    assert {parameter["name"]: parameter["required"] for parameter in in_query} == {
        "task": True,
        **dict.fromkeys(("session_id", "user_id", "stream", "model", "max_tokens", "temperature"), False),
        **dict.fromkeys(("top_p", "seed", "tool_choice"), False),
        **dict.fromkeys(("cache.mode", "cache.ttl_seconds", "cache.tags", "cache.public"), False),
    }


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("post", "/api/v1/task", []),
        ("get", "/api/v1/task", ["If-None-Match"]),
        ("post", "/v1/chat/completions", []),
    ],
)
def test_the_headers_about_the_cache_are_described(method: str, path: str, more: list[str]) -> None:
    names = [parameter["name"] for parameter in parameters(method, path, "header")]
    assert names == ["Cache-Control", "Pragma", "Shoal-Cache-Tags", *more]


def test_how_the_cache_was_used_is_described_of_every_turn() -> None:
    for path in ("/api/v1/task", "/v1/chat/completions"):
        headers = DOCUMENT["paths"][path]["post"]["responses"]["200"]["headers"]
        assert set(headers) == {"X-Shoal-Cache", "X-Shoal-Cache-Key"}


def test_what_caches_on_the_way_are_told_is_described_of_the_get_alone() -> None:
    told = {"ETag", "Cache-Control", "Age", "Vary", "X-Shoal-Cache", "X-Shoal-Cache-Key"}
    responses = DOCUMENT["paths"]["/api/v1/task"]["get"]["responses"]
    assert set(responses["200"]["headers"]) == set(responses["304"]["headers"]) == told
    assert "content" not in responses["304"]
    assert [(method, path) for method, path, operation in OPERATIONS if "304" in operation["responses"]] == [
        ("get", "/api/v1/task")
    ]
