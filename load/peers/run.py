"""A whole run: who takes part on this machine, and what came of it."""

import json
from collections.abc import Callable
from pathlib import Path

from load.measuring import ghz, wrk
from load.measuring.home import Home
from load.measuring.report import provenance
from load.peers import limiters
from load.peers.aims import ECHO, LITELLMS, MOCK
from load.peers.aims import PORTKEY as PORTKEY_NAME
from load.peers.contender import Contender
from load.peers.echo import bare_echo
from load.peers.environments import LITELLM, PORTKEY, RATELIMIT, TOOLS, Environment, UnavailableError
from load.peers.gateways import LiteLLM, Mock, Portkey
from load.peers.measurement import Bench, running_model
from load.peers.mesh import CONFIGURATIONS, Shoal
from load.peers.results import Results

_HERE = Path(__file__).parent
_BIFROST = (
    "it could not be pinned: when this was written, the proxy of Go's modules answered 403 to "
    "github.com/maximhq/bifrost/transports, as not available"
)


async def measured(command: str, *, rounds: int, seconds: int, only: Callable[[str], bool]) -> Results:
    """Raises MeasurementError, StartError. Those that cannot be built here are left out, and it is said why."""
    left_out = {"Bifrost": _BIFROST}
    tools = await TOOLS.built()
    contenders = [Contender(MOCK, Mock(tools)), Contender(ECHO, bare_echo), *await _peers(left_out)]
    contenders += [Contender(name, Shoal(settings)) for name, settings in CONFIGURATIONS.items()]
    chosen = [contender for contender in contenders if only(contender.name)]
    asked = {"Shoal's limiter": limiters.shoals, **await _limiters(left_out)}
    asked = {name: limiter for name, limiter in asked.items() if only(name)}
    machine = provenance()
    async with Home.made() as home, running_model(home, tools) as model:
        bench = Bench(await wrk.find(), await ghz.find(), tools, model, seconds)
        for number in range(1, rounds + 1 if chosen else 1):
            await bench.round(number, chosen)
    return Results(
        command=command,
        machine=machine,
        rounds=rounds,
        seconds=seconds,
        versions=versions(),
        left_out=left_out,
        set_aside=bench.set_aside,
        answers=bench.answers,
        grpc=bench.grpc,
        streams=bench.streams,
        processes=bench.processes,
        limiters=await limiters.measured(asked, rounds=rounds, seconds=seconds),
    )


async def _peers(left_out: dict[str, str]) -> list[Contender]:
    peers = []
    if folder := await _built(PORTKEY, PORTKEY_NAME, left_out):
        peers.append(Contender(PORTKEY_NAME, Portkey(folder)))
    if folder := await _built(LITELLM, "LiteLLM", left_out):
        peers += [Contender(name, LiteLLM(folder, workers)) for workers, name in LITELLMS.items()]
    return peers


async def _limiters(left_out: dict[str, str]) -> dict[str, limiters.Limiter]:
    folder = await _built(RATELIMIT, "envoyproxy/ratelimit", left_out)
    return limiters.variants(folder) if folder else {}


async def _built(environment: Environment, name: str, left_out: dict[str, str]) -> Path | None:
    try:
        return await environment.built()
    except UnavailableError as error:
        left_out[name] = str(error)
        return None


def versions() -> dict[str, str]:
    """Of the peers, as they are pinned."""
    [litellm] = [line for line in _lines("litellm/requirements.lock") if line.startswith("litellm==")]
    [ratelimit] = [line for line in _lines("ratelimit/go.mod") if line.startswith("github.com/envoyproxy/ratelimit ")]
    portkey = json.loads((_HERE / "portkey" / "package.json").read_text())["dependencies"]["@portkey-ai/gateway"]
    return {
        "LiteLLM": litellm.removeprefix("litellm==").rstrip(" \\"),
        PORTKEY_NAME: portkey,
        "envoyproxy/ratelimit": ratelimit.split()[1],
    }


def _lines(name: str) -> list[str]:
    return [line.strip() for line in (_HERE / name).read_text().splitlines()]
