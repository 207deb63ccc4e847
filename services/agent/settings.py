"""The agent's settings."""

import importlib
from collections.abc import Callable
from typing import Annotated, cast

import msgspec

from meshkit import near_cache
from meshkit.server_urls import check_database_url, check_redis_url
from meshkit.settings import GrpcServiceSettings, failed_checks, file_fault, variable_of
from services.agent.ports import Agent, ChatModel
from services.agent.pricing import PriceList
from services.agent.time_words import TimeWords

Meta = msgspec.Meta


class AgentSettings(GrpcServiceSettings, frozen=True, kw_only=True):
    """What an agent replica is told."""

    home: Annotated[str, Meta(description="Folder for data, such as the SQLite files.")] = ".shoal"
    state_redis_url: Annotated[
        str, Meta(description="Redis or Valkey for sessions. It must not evict: maxmemory-policy noeviction.")
    ] = "redis://127.0.0.1:8152/0"
    database_url: Annotated[
        str, Meta(description="SQL database, such as postgresql://user@host/name. Empty: SQLite files in the home.")
    ] = ""
    model_base_url: Annotated[
        str, Meta(description="Base address of an OpenAI-compatible server, such as https://api.openai.com/v1.")
    ] = "http://127.0.0.1:8161/v1"
    model_api_key_file: Annotated[
        str, Meta(description="File with the API key of the model's provider. Empty: no key is sent.")
    ] = ""
    model_names: Annotated[
        str, Meta(description="Comma-separated models on offer, the default first. Empty: all that the provider lists.")
    ] = ""
    model_prices: Annotated[
        str,
        Meta(description="US dollars per million tokens read and written: model=input/output, comma-separated."),
    ] = ""
    model_timeout_seconds: Annotated[
        float, Meta(gt=0, le=86_400, description="How long a model may be silent, before its answer or within it.")
    ] = 120.0
    model_tokens_in_one_piece: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="A turn that is neither streamed, kept in the cache nor metered, and names a max_tokens of at "
            "most this, has the model answer in one piece, for a fifth of the work. Until all of it is there the model "
            "is silent. 0: every answer is streamed.",
        ),
    ] = 256
    model_connections: Annotated[
        int, Meta(ge=1, description="Most connections to the model's server; more calls wait for one.")
    ] = 512
    system_prompt: Annotated[
        str, Meta(description="Instructions to the model for turns that bring none of their own.")
    ] = "You are a helpful assistant."
    task_max_bytes: Annotated[
        int, Meta(ge=1, le=2 * 1024 * 1024, description="Longest task that is taken, in bytes of UTF-8.")
    ] = 256 * 1024
    reserve_output_tokens: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Tokens that a metered turn without max_tokens sets aside for its answer, until it is settled.",
        ),
    ] = 1024
    reservation_ttl_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="How long tokens and place of a running turn stay taken when its replica was killed.",
        ),
    ] = 60.0
    heartbeat_seconds: Annotated[
        float,
        # Below half of the 120 s of silence after which Envoy gives up a stream, so that one may come late.
        Meta(ge=0.01, lt=60, description="A stream in which nothing happens gets a heartbeat this often."),
    ] = 15.0
    agent_slots: Annotated[int, Meta(ge=1, description="Turns that a replica works on at once.")] = 128
    agent_queue: Annotated[
        int,
        Meta(
            ge=0,
            description="Turns that wait for a slot, 30 s at most. More are refused at once with REPLICA_BUSY.",
        ),
    ] = 64
    cache_model_output: Annotated[
        bool, Meta(description="Whether what a model said is kept and given again to whoever asks it the same.")
    ] = True
    near_cache_seconds: near_cache.Seconds = near_cache.DEFAULT_SECONDS
    time_words: Annotated[
        str,
        Meta(
            description="Comma-separated words and phrases in a task whose answer is not cached, since they ask about "
            "now. With + before the first: added to Shoal's own list, which is of 16 languages. Empty: that list. "
            "A single -: none."
        ),
    ] = ""
    agent: Annotated[
        str, Meta(description="The agent's factory as package.module:name; it is given the model's client.")
    ] = "services.agent.chat_agent:ChatAgent"

    def faults(self) -> list[str]:
        faults = super().faults() + failed_checks(
            {
                "state_redis_url": lambda: check_redis_url(self.state_redis_url),
                "database_url": lambda: check_database_url(self.database_url),
                "model_prices": lambda: PriceList.parse(self.model_prices),
                "time_words": lambda: TimeWords.parse(self.time_words),
                "agent": lambda: agent_factory(self.agent),
            }
        )
        if not self.model_base_url.startswith(("http://", "https://")):
            faults.append(f"{variable_of('model_base_url')}: must begin with http:// or https://")
        if self.model_api_key_file:
            faults += file_fault("model_api_key_file", self.model_api_key_file)
        return faults


def agent_factory(reference: str) -> Callable[[ChatModel], Agent]:
    """What `package.module:name` names. Raises ValueError that says what is missing."""
    module_name, _, name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything while it is imported
        raise ValueError(f"cannot import {module_name!r}: {error}") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ValueError(f"{module_name} has no factory {name!r}; write package.module:name")
    return cast("Callable[[ChatModel], Agent]", factory)
