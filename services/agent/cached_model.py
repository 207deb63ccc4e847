"""A model whose outputs are kept: asked the same again, it is not asked at all."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from services.agent.answer_keys import model_output_key
from services.agent.cacheability import had_side_effects, may_be_kept
from services.agent.conversation import AnswerEvent, Completed, Usage
from services.agent.ports import AnswerCache, CachedAnswer, CachedKind, ChatModel, ChatRequest, Lead, ModelInfo
from services.agent.pricing import PriceList


class CachedModel:
    """A ChatModel in front of another. Only what comes with leave for it (`output_caching`) is looked up and kept."""

    def __init__(self, model: ChatModel, *, cache: AnswerCache, prices: PriceList) -> None:
        """`prices` tell what an output is worth."""
        self._model = model
        self._cache = cache
        self._prices = prices

    def chat(self, request: ChatRequest) -> AsyncGenerator[AnswerEvent, None]:
        return self._chat(request) if request.output_caching else self._model.chat(request)

    async def _chat(self, request: ChatRequest) -> AsyncGenerator[AnswerEvent, None]:
        found = await self._look_up(request)
        if isinstance(found, CachedAnswer) and found.renewal is None:
            for event in found.events:
                yield msgspec.structs.replace(event, from_cache=True) if isinstance(event, Usage) else event
            return
        # A stale output falls to one caller to renew: this one waits for the model, the others are given what there is.
        lead = found.renewal if isinstance(found, CachedAnswer) else found
        said: list[AnswerEvent] = []
        async with aclosing(self._model.chat(request)) as events:
            async for event in events:
                said.append(event)
                if isinstance(event, Completed):
                    await self._keep(request, lead, said)
                yield event

    async def models(self) -> Sequence[ModelInfo]:
        return await self._model.models()

    async def _look_up(self, request: ChatRequest) -> CachedAnswer | Lead | None:
        caching = request.output_caching
        if caching is None or had_side_effects(request.messages, request.tools):
            return None
        return await self._cache.open(
            model_output_key(request, tenant=caching.tenant),
            CachedKind.MODEL_OUTPUT,
            part_of=caching.part_of,
            tags=caching.tags,
            generation=caching.generation,
            refresh=caching.refresh,
        )

    async def _keep(self, request: ChatRequest, lead: Lead | None, said: Sequence[AnswerEvent]) -> None:
        caching = request.output_caching
        if lead is None or caching is None or not may_be_kept(said, request.tools):
            return
        priced = [self._prices.priced(request.model, event) if isinstance(event, Usage) else event for event in said]
        await self._cache.keep(
            lead, model=request.model, events=priced, tags=caching.tags, ttl_seconds=caching.ttl_seconds
        )
