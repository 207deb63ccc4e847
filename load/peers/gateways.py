"""The peers that stand before a model, each at its documented settings for production, and the mock without any."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from load.measuring.home import Home
from load.measuring.ports import free_port
from load.measuring.servers import Valkey
from load.peers.asking import MODEL, PATH, Ask, Kind
from load.peers.contender import Running, started

_KEY = "sk-bench"


def _environment(home: Home, **settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home.folder), **settings}


def mock_command(tools: Path, port: int) -> list[str]:
    return [str(tools / "mock"), "-port", str(port)]


@dataclass(frozen=True, slots=True)
class Mock:
    """The mock by itself: what the box and the generators of load can do at most."""

    tools: Path

    def __call__(self, home: Home, model: str) -> AbstractAsyncContextManager[Running]:
        """One of its own; the model's address is not needed."""
        port = free_port()
        asks: dict[Kind, Ask] = {"computed": Ask(f"http://127.0.0.1:{port}{PATH}")}
        return started(home, "mock-alone", mock_command(self.tools, port), {}, asks)


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """LiteLLM's proxy: its master key is asked for; answers are kept in Redis for those who wish it."""

    environment: Path
    workers: int

    @asynccontextmanager
    async def __call__(self, home: Home, model: str) -> AsyncIterator[Running]:
        port, cache = free_port(), Valkey(home, "valkey-of-litellm")
        config = home.folder / "litellm.json"
        config.write_text(json.dumps(self._config(model, cache.port)))
        where = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", str(self.workers)]
        # Its own default of 5 s ends workers that take longer to start than that, again and again.
        where += ["--timeout_worker_healthcheck", "30"]
        command = [str(self.environment / "bin" / "litellm"), "--config", str(config), *where]
        settings = _environment(
            home,
            LITELLM_MODE="PRODUCTION",
            LITELLM_LOG="ERROR",
            LITELLM_MASTER_KEY=_KEY,
            # It would load prices from the network when it starts, and wait for that in vain.
            LITELLM_LOCAL_MODEL_COST_MAP="True",
        )
        url, headers = f"http://127.0.0.1:{port}{PATH}", {"Authorization": f"Bearer {_KEY}"}
        asks: dict[Kind, Ask] = {
            "computed": Ask(url, headers),
            "cached": Ask(url, headers, {"cache": {"use-cache": True}}),
        }
        async with cache.running(), started(home, "litellm", command, settings, asks) as running:
            yield running

    def _config(self, model: str, cache_port: int) -> dict[str, object]:
        """JSON is YAML, too."""
        served = {"model": f"openai/{MODEL}", "api_base": model, "api_key": "sk-mock"}
        cache = {"type": "redis", "host": "127.0.0.1", "port": cache_port, "mode": "default_off"}
        return {
            "model_list": [{"model_name": MODEL, "litellm_params": served}],
            "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
            "litellm_settings": {
                "request_timeout": 600,
                "set_verbose": False,
                "json_logs": True,
                "cache": True,
                "cache_params": cache,
            },
        }


@dataclass(frozen=True, slots=True)
class Portkey:
    """Portkey's open-source gateway: it has no cache, keys or limits of its own."""

    environment: Path

    def __call__(self, home: Home, model: str) -> AbstractAsyncContextManager[Running]:
        port = free_port()
        program = self.environment / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        command = ["node", str(program), f"--port={port}", "--headless"]
        headers = {
            "Authorization": f"Bearer {_KEY}",
            "x-portkey-provider": "openai",
            # It trusts this name of a machine, or the loopback's, without being told.
            "x-portkey-custom-host": f"http://127.0.0.1:{urlsplit(model).port}/v1",
        }
        asks: dict[Kind, Ask] = {"computed": Ask(f"http://127.0.0.1:{port}{PATH}", headers)}
        return started(home, "portkey", command, _environment(home, NODE_ENV="production"), asks)
