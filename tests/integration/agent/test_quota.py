"""A replica with the real limiter behind it: what metered callers reserve, use and give back."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from load.measuring.ports import free_port
from meshkit.errors import Reason
from shoal.agent.v1 import agent_pb2 as pb
from shoal.ratelimit.v1.ratelimit_pb2 import PeekRequest, PeekResponse
from tests import backends
from tests.integration.agent.agent_process import TIMEOUT_SECONDS, AgentProcess, Caller, agent_process, hanging
from tests.integration.ratelimit import ratelimit_process
from tests.integration.ratelimit.ratelimit_process import mesh_caller
from tests.mesh_identity import signed
from tests.refusal import refusal
from tests.simulated_model import ModelProcess, Server

# One token comes back per minute: none while a test runs.
LIMITS = """
tiers:
  premium:
    model_tokens: {per_minute: 1, burst: 10000}
    concurrent: {calls: 2}
"""
HANGING = pb.ExecuteRequest(task="[[hang]]", sampling=pb.SamplingParameters(max_tokens=10))


@dataclass(frozen=True)
class Limiter:
    """A running limiter: where it is asked by tests, and by agents."""

    address: str
    mesh_address: str


@contextmanager
def limiter_process(folder: Path, *, redis_url: str) -> Iterator[Limiter]:
    folder.mkdir()
    limits_file = folder / "limits.yaml"
    limits_file.write_text(LIMITS)
    http1_port = str(free_port())
    settings = {"SHOAL_LIMITS_FILE": str(limits_file), "SHOAL_HTTP1_PORT": http1_port}
    environ = ratelimit_process.environ(folder, redis_url=redis_url) | settings
    ratelimit_process.make_tables(environ)
    with ratelimit_process.started(environ) as process:
        yield Limiter(process.address, f"127.0.0.1:{http1_port}")


@pytest.fixture(scope="module")
def limiter(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limiter]:
    with limiter_process(tmp_path_factory.mktemp("quota") / "limiter", redis_url=valkey_url) as process:
        yield process


@pytest.fixture
def hanging_limiter(tmp_path: Path) -> Iterator[Limiter]:
    """A limiter whose Redis takes connections and answers nothing."""
    with (
        backends.valkey(tmp_path) as redis_url,
        limiter_process(tmp_path / "limiter", redis_url=redis_url) as limiter,
        hanging(redis_url),
    ):
        yield limiter


@pytest.fixture(scope="module")
def metered_agent(
    limiter: Limiter, valkey_url: str, running_model: ModelProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("agent")
    with agent_process(
        folder, redis_url=valkey_url, model_url=running_model.url, SHOAL_MESH_ADDRESS=limiter.mesh_address
    ) as process:
        yield process


@pytest.fixture
def key_id() -> str:
    """A key that no other test uses."""
    return f"key_{secrets.token_hex(8)}"


@pytest.fixture
async def metered(metered_agent: AgentProcess, key_id: str) -> AsyncIterator[Caller]:
    async with Caller(metered_agent.address, signed("acme", key_id=key_id, metered=True)) as caller:
        yield caller


@contextmanager
def paused(model: ModelProcess) -> Iterator[None]:
    """The model takes calls and says nothing to them until the end."""
    model.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        model.process.send_signal(signal.SIGCONT)


async def left(limiter: Limiter, key_id: str) -> PeekResponse:
    async with mesh_caller(limiter.address) as stub:
        return await stub.Peek(PeekRequest(), metadata=signed("acme", key_id=key_id), timeout=TIMEOUT_SECONDS)


async def places_reach(limiter: Limiter, key_id: str, taken: int) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await left(limiter, key_id)).places.taken != taken:
            pass


async def test_a_turn_pays_for_what_the_model_used_and_frees_its_place(
    metered: Caller, limiter: Limiter, key_id: str
) -> None:
    answer = await metered.execute(pb.ExecuteRequest(task="hello [[tokens=5]]"))
    used = answer.usage.input_tokens + answer.usage.output_tokens
    assert used > 5
    after = await left(limiter, key_id)
    assert (after.model_tokens.remaining, after.places.taken) == (10_000 - used, 0)


async def test_a_stream_pays_and_frees_its_place_before_its_end_is_seen(
    metered: Caller, limiter: Limiter, running_model: ModelProcess, key_id: str
) -> None:
    await metered.list_models()  # The agent needs the list before it begins a turn.
    with paused(running_model):
        events = aiter(metered.stream(pb.ExecuteRequest(task="hello [[tokens=5]]")))
        assert (await anext(events)).HasField("started")
        assert (await left(limiter, key_id)).places.taken == 1
    while not (await anext(events)).HasField("completed"):
        pass
    after = await left(limiter, key_id)
    assert after.places.taken == 0
    assert after.model_tokens.remaining < 10_000 - 5


async def test_all_places_taken_is_refused_before_the_stream_begins_until_one_is_left(
    metered_agent: AgentProcess, metered: Caller, limiter: Limiter, key_id: str
) -> None:
    streams = [metered.stream(HANGING) for _ in range(2)]
    for stream in streams:
        assert (await anext(aiter(stream))).HasField("started")
    third = metered.stream(HANGING)
    error = await refusal(third)
    assert (error.reason, error.retry_after_seconds) == (Reason.RATE_LIMITED, 1.0)
    assert dict(await third.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "1000"
    assert (await refusal(metered.execute(HANGING))).reason is Reason.RATE_LIMITED
    async with Caller(metered_agent.address, signed("acme", key_id=f"{key_id}-2", metered=True)) as another:
        assert (await another.execute(pb.ExecuteRequest(task="hello [[tokens=1]]"))).output == "hello"
    streams[0].cancel()
    await places_reach(limiter, key_id, 1)
    assert (await metered.execute(pb.ExecuteRequest(task="hello [[tokens=1]]"))).output == "hello"
    streams[1].cancel()
    await places_reach(limiter, key_id, 0)


async def test_tokens_that_are_not_there_are_refused_with_the_time_to_wait(metered: Caller) -> None:
    request = pb.ExecuteRequest(task="hello [[tokens=200]]", sampling=pb.SamplingParameters(max_tokens=9_900))
    await metered.execute(request)
    error = await refusal(metered.execute(request))
    assert error.reason is Reason.RATE_LIMITED
    assert error.retry_after_seconds
    assert error.retry_after_seconds > 60
    assert "model tokens per minute" in error.message


async def test_tokens_that_are_never_there_are_refused_for_good(metered: Caller) -> None:
    request = pb.ExecuteRequest(task="hello", sampling=pb.SamplingParameters(max_tokens=10_000))
    error = await refusal(metered.execute(request))
    assert (error.reason, error.field, error.retry_after_seconds) == (Reason.COST_ABOVE_CAPACITY, "max_tokens", None)


async def test_a_model_that_refuses_costs_nothing(metered: Caller, limiter: Limiter, key_id: str) -> None:
    assert (await refusal(metered.execute(pb.ExecuteRequest(task="[[status=400]]")))).reason is Reason.MODEL_REFUSED
    after = await left(limiter, key_id)
    assert (after.model_tokens.remaining, after.places.taken) == (10_000, 0)


async def test_a_model_that_breaks_off_is_settled_with_what_it_said(
    metered: Caller, limiter: Limiter, key_id: str
) -> None:
    assert (await refusal(metered.stream(pb.ExecuteRequest(task="hello [[break_after=3]]")))).code == "UNAVAILABLE"
    after = await left(limiter, key_id)
    assert 10_000 - 100 < after.model_tokens.remaining < 10_000 - 3
    assert after.places.taken == 0


async def test_a_deadline_that_passes_is_settled(metered: Caller, limiter: Limiter, key_id: str) -> None:
    ended = await refusal(metered.stub.Execute(HANGING, metadata=metered.metadata, timeout=1))
    assert ended.reason is Reason.DEADLINE_EXCEEDED
    await places_reach(limiter, key_id, 0)


async def test_a_stream_that_goes_on_for_too_long_is_ended_and_settled(
    limiter: Limiter, valkey_url: str, model: Server, tmp_path: Path, key_id: str
) -> None:
    settings = {"SHOAL_MESH_ADDRESS": limiter.mesh_address, "SHOAL_STREAM_MAX_SECONDS": "1"}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **settings) as agent:
        async with Caller(agent.address, signed("acme", key_id=key_id, metered=True)) as metered:
            reader = aiter(metered.stream(HANGING))
            assert (await anext(reader)).HasField("started")
            assert (await left(limiter, key_id)).places.taken == 1
            assert (await refusal(anext(reader))).reason is Reason.DEADLINE_EXCEEDED
            assert (await left(limiter, key_id)).places.taken == 0
    await model.calls_reach(cancelled=1, concurrent=0)


async def test_streams_that_outlast_the_drain_are_settled_before_the_process_ends(
    limiter: Limiter, valkey_url: str, model: Server, tmp_path: Path, key_id: str
) -> None:
    settings = {"SHOAL_MESH_ADDRESS": limiter.mesh_address, "SHOAL_DRAIN_SECONDS": "0.2"}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **settings) as agent:
        async with Caller(agent.address, signed("acme", key_id=key_id, metered=True)) as metered:
            streams = [metered.stream(HANGING) for _ in range(2)]
            for stream in streams:
                await anext(aiter(stream))
            assert (await left(limiter, key_id)).places.taken == 2
            agent.process.terminate()
            assert await asyncio.to_thread(agent.process.wait, TIMEOUT_SECONDS) == 0
            assert (await left(limiter, key_id)).places.taken == 0
            for stream in streams:
                await refusal(stream)


async def test_while_the_limits_hang_metered_turns_alone_are_refused(
    hanging_limiter: Limiter, valkey_url: str, model: Server, tmp_path: Path
) -> None:
    settings = {"SHOAL_MESH_ADDRESS": hanging_limiter.mesh_address}
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url, **settings) as agent:
        async with Caller(agent.address, signed("acme", metered=True)) as metered:
            assert (await refusal(metered.execute(HANGING))).reason is Reason.LIMITER_UNAVAILABLE
        async with Caller(agent.address, signed("acme")) as unmetered:
            assert (await unmetered.execute(pb.ExecuteRequest(task="hello [[tokens=1]]"))).output == "hello"


async def test_without_a_limiter_metered_turns_alone_are_refused(agent: AgentProcess, tenant: str) -> None:
    async with Caller(agent.address, signed(tenant, metered=True)) as caller:
        assert (await refusal(caller.stream(HANGING))).reason is Reason.LIMITER_UNAVAILABLE
    async with Caller(agent.address, signed(tenant)) as caller:
        assert (await caller.execute(pb.ExecuteRequest(task="hello [[tokens=1]]"))).output == "hello"
