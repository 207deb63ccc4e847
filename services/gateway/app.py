"""The gateway as an ASGI application."""

import secrets
import time
from collections.abc import Callable

from starlette.routing import Router

from meshkit.identity import IdentitySigner
from meshkit.metrics import Metrics, NearHits
from meshkit.near_cache import NearCache
from meshkit.near_turns import NearTurns
from services.gateway.agent_client import AgentClient
from services.gateway.description_routes import DescriptionRoutes
from services.gateway.health_routes import HealthRoutes
from services.gateway.middleware import CallMiddleware
from services.gateway.openai_routes import OpenAIRoutes
from services.gateway.settings import GatewaySettings
from services.gateway.task_routes import TaskRoutes
from services.gateway.turns import Turns


def create_app(
    *,
    agent: AgentClient,
    signer: IdentitySigner,
    metrics: Metrics,
    settings: GatewaySettings,
    is_draining: Callable[[], bool],
) -> CallMiddleware:
    """The whole application, ready to be served."""
    near = NearTurns(
        NearCache(seconds=settings.near_cache_seconds),
        hits=NearHits(metrics),
        replica=settings.replica,
        mint_id=lambda: f"turn_{secrets.token_urlsafe(18)}",
        clock=time.time,
    )
    turns = Turns(agent=agent, near=near)
    routes = [
        *OpenAIRoutes(turns=turns, agent=agent, request_max_bytes=settings.request_max_bytes).routes(),
        *TaskRoutes(turns=turns, agent=agent, request_max_bytes=settings.request_max_bytes).routes(),
        *HealthRoutes(agent=agent, is_draining=is_draining).routes(),
        *DescriptionRoutes().routes(),
    ]
    return CallMiddleware(
        Router(routes, redirect_slashes=False),
        signer=signer,
        metrics=metrics,
        replica=settings.replica,
        timeout_seconds=settings.longest_seconds,
    )
