"""Limiters side by side: Shoal's and envoyproxy/ratelimit, asked the same, each with a Valkey of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from launcher.processes.readiness import HttpOk
from load.limits import foreign, questions
from load.limits.limiters import running_limiter
from load.measuring import ghz
from load.measuring.generator import MeasurementError
from load.measuring.ghz import Call
from load.measuring.home import Home
from load.measuring.ports import free_port
from load.measuring.progress import say
from load.measuring.servers import Valkey
from load.peers.calls import Calls
from load.peers.measurement import AT_ONCE
from load.peers.results import Called

_WARM_UP_SECONDS = 1
_QUESTION = foreign.passing()


class Limiter(Protocol):
    """One that can be asked what other Envoys ask."""

    def __call__(self, home: Home, redis: Valkey) -> AbstractAsyncContextManager[str]:
        """Runs until the end of the context; yields its address."""


@asynccontextmanager
async def shoals(home: Home, redis: Valkey) -> AsyncIterator[str]:
    """Shoal's own, as `shoal up` starts one."""
    async with running_limiter(home, redis.url, settings=foreign.settings(home.folder)) as limiter:
        yield limiter.envoy_address


@dataclass(frozen=True, slots=True)
class Ratelimit:
    """envoyproxy/ratelimit; `settings` are environment variables beside those that say where things are."""

    environment: Path
    settings: Mapping[str, str]

    @asynccontextmanager
    async def __call__(self, home: Home, redis: Valkey) -> AsyncIterator[str]:
        rules = home.folder / "ratelimit" / "config"
        rules.mkdir(parents=True)
        foreign.settings(rules)
        ports = {name: free_port() for name in ("PORT", "GRPC_PORT", "DEBUG_PORT")}
        environment = {
            **{name: str(port) for name, port in ports.items()},
            **dict.fromkeys(("HOST", "GRPC_HOST", "DEBUG_HOST"), "127.0.0.1"),
            "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_URL": f"127.0.0.1:{redis.port}",
            "RUNTIME_ROOT": str(home.folder),
            "RUNTIME_SUBDIRECTORY": "ratelimit",
            "RUNTIME_WATCH_ROOT": "false",
            "USE_STATSD": "false",
            **self.settings,
        }
        command, ready = [str(self.environment / "ratelimit")], HttpOk(ports["PORT"], "/healthcheck")
        async with home.running("envoyproxy-ratelimit", command, environment, ready):
            yield f"127.0.0.1:{ports['GRPC_PORT']}"


def variants(environment: Path) -> dict[str, Limiter]:
    """envoyproxy/ratelimit as it is, and as its documentation has it for high throughput."""
    return {
        "envoyproxy/ratelimit": Ratelimit(environment, {}),
        "envoyproxy/ratelimit, pipelined": Ratelimit(environment, {"REDIS_PIPELINE_WINDOW": "150us"}),
    }


async def measured(limiters: Mapping[str, Limiter], *, rounds: int, seconds: int) -> list[Called]:
    """Each of them in each round, one after the other. Raises MeasurementError, StartError."""
    generator = await ghz.find()
    rows: list[Called] = []
    for number in range(1, rounds + 1):
        for name, limiter in limiters.items():
            say(f"round {number}: {name} ...")
            async with Home.made() as home, _own_valkey(home) as redis, limiter(home, redis) as address:
                if not await questions.admits(address, _QUESTION):
                    raise MeasurementError(f"{name} refuses what it should admit")
                rows += await _decided(generator, address, name, number, seconds)
    return rows


@asynccontextmanager
async def _own_valkey(home: Home) -> AsyncIterator[Valkey]:
    redis = Valkey(home)
    async with redis.running():
        yield redis


async def _decided(generator: str, address: str, name: str, number: int, seconds: int) -> list[Called]:
    calls = Calls(generator, address, Call(questions.RPC, _QUESTION))
    await calls.made(name, number, AT_ONCE[1], _WARM_UP_SECONDS)
    return [await calls.made(name, number, at_once, seconds) for at_once in AT_ONCE]
