"""Our own long-running programs: where each one's settings and entry point are, imported only when they are needed."""

import pkgutil
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from launcher.settings import CertsSettings, OperatorSettings, UpSettings, WarmSettings
from meshkit.settings import Settings


class Program(NamedTuple):
    """The import paths of one program, as `module:name`."""

    settings: str
    run: str


PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {
        "ratelimit": Program("services.ratelimit.settings:RatelimitSettings", "services.ratelimit.main:run"),
        "cache": Program("services.cache.settings:CacheSettings", "services.cache.main:run"),
        "agent": Program("services.agent.settings:AgentSettings", "services.agent.main:run"),
        "gateway": Program("services.gateway.settings:GatewaySettings", "services.gateway.main:run"),
        "model": Program("launcher.settings:ModelSettings", "launcher.model_server:run"),
    }
)


def settings_of(program: str) -> type[Settings]:
    kind: type[Settings] = pkgutil.resolve_name(PROGRAMS[program].settings)
    return kind


def all_settings() -> dict[str, type[Settings]]:
    """Every kind of settings that is read from the environment, by the program that reads it."""
    commands: dict[str, type[Settings]] = {
        "up": UpSettings,
        "operator": OperatorSettings,
        "warm": WarmSettings,
        "certs": CertsSettings,
    }
    return commands | {program: settings_of(program) for program in PROGRAMS}


def run_of(program: str) -> Callable[[Any], Coroutine[None, None, None]]:
    """The coroutine function that runs the program with its settings until it is told to stop."""
    run: Callable[[Any], Coroutine[None, None, None]] = pkgutil.resolve_name(PROGRAMS[program].run)
    return run
