"""Health for Envoy and for people: alive is this process, ready is the way to an agent."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.gateway.agent_client import AgentClient
from services.gateway.bodies import json_response
from services.gateway.routing import route
from services.gateway.shapes import Health


class HealthRoutes:
    """The routes under /health."""

    def __init__(self, *, agent: AgentClient, is_draining: Callable[[], bool]) -> None:
        self._agent = agent
        self._is_draining = is_draining

    def routes(self) -> list[Route]:
        return [route("/health", {"GET": self.alive}), route("/health/ready", {"GET": self.ready})]

    async def alive(self, request: Request) -> Response:
        """503 while draining, so that Envoy sends nothing new here."""
        if self._is_draining():
            return json_response(Health("draining"), status_code=503)
        return json_response(Health("alive"))

    async def ready(self, request: Request) -> Response:
        if self._is_draining():
            return json_response(Health("draining"), status_code=503)
        if await self._agent.is_serving():
            return json_response(Health("ready"))
        return json_response(Health("not ready"), status_code=503)
