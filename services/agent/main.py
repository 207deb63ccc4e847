"""The agent process: what it is made of."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from meshkit import process
from meshkit.channel import open_http1_channel
from meshkit.database import database_url, open_engine
from meshkit.metrics import Load, NearHits
from meshkit.near_cache import NearCache
from meshkit.near_turns import NearTurns
from meshkit.redis import open_redis
from services.agent.cache_client import CacheClient
from services.agent.cached_model import CachedModel
from services.agent.memory import Memory
from services.agent.metrics import show_slots
from services.agent.model_catalog import ModelCatalog
from services.agent.near_answers import NearAnswers
from services.agent.openai_model import OpenAIModel
from services.agent.ports import AnswerCache
from services.agent.pricing import PriceList
from services.agent.quota_client import QuotaClient
from services.agent.redis_session_store import RedisSessionStore
from services.agent.renewals import Renewals
from services.agent.reservations import Reserver
from services.agent.servicer import AgentServicer
from services.agent.settings import AgentSettings, agent_factory
from services.agent.slots import Slots
from services.agent.sql_preference_store import SqlPreferenceStore
from services.agent.time_words import TimeWords
from services.agent.turn import TurnRunner
from shoal.agent.v1 import agent_pb2, agent_pb2_grpc

SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name
STATE_TIMEOUT_SECONDS = 1.0
MODEL_KEEPALIVE_SECONDS = 4.0
"""Model servers hang up on idle connections, many after 5 s; a call that meets this would fail."""
LONGEST_WAIT_SECONDS = 30.0
"""For a slot. Whoever waits hears nothing, and Envoy gives up streams of which it hears nothing for 120 s or more: two
replicas that refuse after so long, and one that begins, are within that."""
RENEWALS = 16
"""Stale answers that are computed anew at the same time."""
RENEWAL_SECONDS = 120.0


async def run(settings: AgentSettings) -> None:
    """Runs one replica until SIGTERM or SIGINT."""
    async with AsyncExitStack() as stack:
        this = await stack.enter_async_context(process.start("agent", settings))
        channel = await stack.enter_async_context(open_http1_channel(settings.mesh_address, tls=settings.mesh_tls()))
        redis = await stack.enter_async_context(
            open_redis(settings.state_redis_url, timeout_seconds=STATE_TIMEOUT_SECONDS)
        )
        engine = await stack.enter_async_context(
            open_engine(
                database_url(settings.database_url, home=settings.home, owner="agent"),
                lock_timeout_seconds=STATE_TIMEOUT_SECONDS,
            )
        )
        model = await stack.enter_async_context(_open_model(settings))
        names = [name.strip() for name in settings.model_names.split(",") if name.strip()]
        catalog = ModelCatalog(provider=model, names=names, clock=time.monotonic)
        sessions = RedisSessionStore(redis)
        preferences = SqlPreferenceStore(engine, timeout_seconds=STATE_TIMEOUT_SECONDS)
        renewals = Renewals(most=RENEWALS, seconds=RENEWAL_SECONDS)
        stack.push_async_callback(renewals.close)
        hits = NearHits(this.metrics)
        turns = _turn_runner(
            settings,
            model=model,
            catalog=catalog,
            memory=Memory(sessions=sessions, preferences=preferences),
            cache=NearAnswers(
                CacheClient(channel),
                found=NearCache(seconds=settings.near_cache_seconds),
                hits=hits,
                clock=time.monotonic,
            ),
            quota=QuotaClient(channel),
            renewals=renewals,
        )
        slots = Slots(
            settings.agent_slots,
            queue=settings.agent_queue,
            longest_wait_seconds=LONGEST_WAIT_SECONDS,
            clock=time.monotonic,
        )
        show_slots(slots, this.metrics.registry)
        this.load = lambda: Load(running=this.calls.running - slots.waiting, waiting=slots.waiting, slots=slots.slots)
        servicer = AgentServicer(
            turns=turns,
            near=_near_turns(settings, hits),
            slots=slots,
            catalog=catalog,
            sessions=sessions,
            preferences=preferences,
            replica=settings.replica,
            clock=time.time,
            monotonic=time.monotonic,
            task_max_bytes=settings.task_max_bytes,
            heartbeat_seconds=settings.heartbeat_seconds,
        )
        server = this.new_server()
        agent_pb2_grpc.add_AgentServiceServicer_to_server(servicer, server)
        await this.serve(server, [SERVICE], http1_port=settings.envoys_port)


def _turn_runner(
    settings: AgentSettings,
    *,
    model: OpenAIModel,
    catalog: ModelCatalog,
    memory: Memory,
    cache: AnswerCache,
    quota: QuotaClient,
    renewals: Renewals,
) -> TurnRunner:
    prices = PriceList.parse(settings.model_prices)
    asked = CachedModel(model, cache=cache, prices=prices) if settings.cache_model_output else model
    return TurnRunner(
        agent=agent_factory(settings.agent)(asked),
        catalog=catalog,
        prices=prices,
        memory=memory,
        cache=cache,
        time_words=TimeWords.parse(settings.time_words),
        reserver=Reserver(
            quota,
            answer_tokens=settings.reserve_output_tokens,
            ttl_seconds=settings.reservation_ttl_seconds,
            mint_id=_mint_id,
        ),
        renewals=renewals,
        most_tokens_in_one_piece=settings.model_tokens_in_one_piece,
        system_prompt=settings.system_prompt,
        mint_id=_mint_id,
        clock=time.time,
    )


@asynccontextmanager
async def _open_model(settings: AgentSettings) -> AsyncIterator[OpenAIModel]:
    connector = aiohttp.TCPConnector(limit=settings.model_connections, keepalive_timeout=MODEL_KEEPALIVE_SECONDS)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield OpenAIModel(
            session,
            base_url=settings.model_base_url,
            api_key=_secret(settings.model_api_key_file),
            silence_seconds=settings.model_timeout_seconds,
        )


def _near_turns(settings: AgentSettings, hits: NearHits) -> NearTurns:
    return NearTurns(
        NearCache(seconds=settings.near_cache_seconds),
        hits=hits,
        replica=settings.replica,
        mint_id=partial(_mint_id, "turn"),
        clock=time.time,
    )


def _mint_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_urlsafe(18)}"


def _secret(path: str) -> str:
    return Path(path).read_text().strip() if path else ""
