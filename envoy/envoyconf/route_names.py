"""The names of limited routes, for the limiter's configuration and for the operator's."""

from collections.abc import Mapping
from types import MappingProxyType

AGENT_API = "/shoal.agent.v1."

OTHER = "other"
"""Everything that has no name of its own."""

RPCS: Mapping[str, str] = MappingProxyType(
    {
        f"{AGENT_API}AgentService/ExecuteStream": "task",
        f"{AGENT_API}AgentService/Execute": "task",
        f"{AGENT_API}AgentService/ListModels": "models",
        f"{AGENT_API}AgentService/GetSession": "sessions",
        f"{AGENT_API}AgentService/DeleteSession": "sessions",
        f"{AGENT_API}AgentService/GetPreferences": "preferences",
        f"{AGENT_API}AgentService/PutPreferences": "preferences",
        AGENT_API: OTHER,
    }
)
"""Names by what a gRPC call's path begins with; the first match decides."""

PATHS: Mapping[str, str] = MappingProxyType(
    {
        "/api/v1/task": "task",
        "/api/v1/sessions": "sessions",
        "/api/v1/users": "preferences",
        "/v1/chat/completions": "chat",
        "/v1/models": "models",
    }
)
"""Names by the REST path, alone or with more below it."""

ROUTE_NAMES = frozenset({*RPCS.values(), *PATHS.values()})
