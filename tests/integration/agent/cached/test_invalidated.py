"""What was invalidated is computed anew, and so is what it was made of."""

import pytest

from shoal.agent.v1 import agent_pb2 as pb
from shoal.cache.v1 import cache_pb2
from tests.integration.agent.agent_process import Caller
from tests.integration.agent.cached.cached_agent import asking
from tests.integration.cache.caller import Caller as CacheCaller
from tests.simulated_model import Server


@pytest.mark.parametrize("what", ["key", "tag", "everything"])
async def test_what_was_invalidated_is_asked_anew_of_the_model_too(
    acme: Caller, cache: CacheCaller, model: Server, what: str
) -> None:
    request = asking("hello", tags=["greetings"])
    key = (await acme.execute(request)).cache.key
    assert (await acme.execute(request)).cache.status == pb.CACHE_STATUS_HIT
    named: dict[str, object] = {"key": key, "tag": "greetings", "everything": True}
    await cache.invalidate(cache_pb2.InvalidateRequest(**{what: named[what]}))  # type: ignore[arg-type]
    assert (await acme.execute(request)).cache.status == pb.CACHE_STATUS_MISS
    await model.calls_reach(begun=2, completed=2)


def with_named_model(*tags: str) -> pb.ExecuteRequest:
    """Another question than "hello", of which the model is asked the same."""
    request = asking("hello", tags=tags)
    request.model = "small"
    return request


async def test_what_was_said_before_a_tag_was_invalidated_is_not_said_again_with_that_tag(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    await acme.execute(asking("hello"))
    await cache.invalidate(cache_pb2.InvalidateRequest(tag="greetings"))
    await acme.execute(with_named_model("greetings"))
    await model.calls_reach(begun=2, completed=2)


async def test_an_answer_that_was_invalidated_by_its_tag_is_asked_anew_without_it_too(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    await acme.execute(asking("hello"))
    await acme.execute(with_named_model("greetings"))
    await model.calls_reach(begun=1, completed=1)
    await cache.invalidate(cache_pb2.InvalidateRequest(tag="greetings"))
    await acme.execute(with_named_model())
    await model.calls_reach(begun=2, completed=2)


async def test_an_answer_that_was_kept_without_a_tag_is_not_found_with_it_once_it_was_invalidated(
    acme: Caller, cache: CacheCaller, model: Server
) -> None:
    await acme.execute(asking("hello"))
    await cache.invalidate(cache_pb2.InvalidateRequest(tag="greetings"))
    assert (await acme.execute(asking("hello"))).cache.status == pb.CACHE_STATUS_HIT
    assert (await acme.execute(asking("hello", tags=["greetings"]))).cache.status == pb.CACHE_STATUS_MISS
    assert (await acme.execute(asking("hello", tags=["greetings"]))).cache.status == pb.CACHE_STATUS_HIT
    await model.calls_reach(begun=2, completed=2)
