"""The agent at work on one answer: within a reservation, counted and priced; what may be kept is kept."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass

import msgspec

from meshkit.errors import Reason, ShoalError
from services.agent import cacheability
from services.agent.conversation import AnswerEvent, Completed, Usage
from services.agent.ports import Agent, AgentTurn, AnswerCache, Lead, Lifetime, OutputCaching
from services.agent.pricing import PriceList
from services.agent.request import CacheControl, CacheMode
from services.agent.reservations import NoReservation, Reservation, Reserver


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """An answer to compute."""

    work: AgentTurn
    is_metered: bool
    """Whether tokens are to be reserved for it."""
    lead: Lead | None
    """None: neither the answer nor what it is made of is kept, or taken from the cache."""
    cache: CacheControl
    """As what it is kept."""

    @property
    def output_caching(self) -> OutputCaching | None:
        """What the answer's model may take from the cache, and as what its output is kept."""
        if self.lead is None:
            return None
        return OutputCaching(
            tenant=self.work.tenant,
            part_of=self.lead.key,
            generation=self.lead.generation,
            refresh=self.lead.refresh or self.cache.mode is CacheMode.REFRESH,
            ttl_seconds=self.cache.ttl_seconds,
            tags=self.cache.tags,
        )


class AgentRunner:
    """Sets the agent to work. One for the whole process."""

    def __init__(
        self,
        *,
        agent: Agent,
        prices: PriceList,
        cache: AnswerCache,
        reserver: Reserver,
        most_tokens_in_one_piece: int,
    ) -> None:
        """`most_tokens_in_one_piece`: up to which max_tokens a model is asked so where nobody sees the pieces."""
        self._agent = agent
        self._prices = prices
        self._cache = cache
        self._reserver = reserver
        self._most_tokens_in_one_piece = most_tokens_in_one_piece

    @asynccontextmanager
    async def begun(self, assignment: Assignment) -> AsyncIterator["AgentRun"]:
        """A run that has its reservation, which has been settled in the end. Raises what Quota.reserve does."""
        async with self._reserved(assignment) as reservation:
            yield AgentRun(
                assignment,
                agent=self._agent,
                prices=self._prices,
                cache=self._cache,
                reservation=reservation,
                most_tokens_in_one_piece=self._most_tokens_in_one_piece,
            )

    async def complete(self, assignment: Assignment) -> None:
        """Computes an answer that nobody waits for, and keeps it. Raises ShoalError."""
        async with self.begun(assignment) as run:
            await run.finish(await run.whole())

    def _reserved(self, assignment: Assignment) -> AbstractAsyncContextManager[Reservation | NoReservation]:
        if assignment.is_metered:
            return self._reserver.held(assignment.work)
        return nullcontext(NoReservation())


class AgentRun:
    """One answer in the making."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        agent: Agent,
        prices: PriceList,
        cache: AnswerCache,
        reservation: Reservation | NoReservation,
        most_tokens_in_one_piece: int,
    ) -> None:
        self._assignment = assignment
        self._most_tokens_in_one_piece = most_tokens_in_one_piece
        self._agent = agent
        self._prices = prices
        self._cache = cache
        self._reservation = reservation

    def events(self) -> AsyncGenerator[AnswerEvent, None]:
        """The answer, computed while it is read; closing it stops the agent. Raises ShoalError."""
        return self._events(in_one_piece=False)

    async def whole(self) -> Sequence[AnswerEvent]:
        """All of it, when it is there; cancelling it stops the agent. Raises ShoalError."""
        async with aclosing(self._events(in_one_piece=self._may_come_in_one_piece())) as events:
            return [event async for event in events]

    def _may_come_in_one_piece(self) -> bool:
        """What is kept is replayed in its pieces, a metered turn that is cancelled pays for those that have come, and a
        model that writes for long must not be taken for one that has fallen silent."""
        assigned = self._assignment
        most = assigned.work.sampling.max_tokens
        is_short = most is not None and most <= self._most_tokens_in_one_piece
        return is_short and assigned.lead is None and not assigned.is_metered

    async def _events(self, *, in_one_piece: bool) -> AsyncGenerator[AnswerEvent, None]:
        assigned, meter = self._assignment, self._reservation.meter
        work = msgspec.structs.replace(assigned.work, output_caching=assigned.output_caching, in_one_piece=in_one_piece)
        meter.begin()
        try:
            async with aclosing(self._agent.run(work)) as events:
                async for event in events:
                    meter.count(event)
                    yield self._prices.priced(work.model, event) if isinstance(event, Usage) else event
        except ShoalError as error:
            meter.fail(error)
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            # The agent's own: let through, it would end the RPC without a word to the caller.
            raise _broke_off() from error

    async def finish(self, events: Sequence[AnswerEvent]) -> Lifetime | None:
        """Settles what these events, all that there were, have taken, and keeps them; None if they are not kept.

        Raises ShoalError MODEL_UNAVAILABLE if they are no complete answer.
        """
        await self._reservation.settle()  # The model has done its part.
        if not (events and isinstance(events[-1], Completed)):
            raise _broke_off()
        assigned = self._assignment
        if assigned.lead is None or not cacheability.may_be_kept(events, assigned.work.tools):
            return None
        return await self._cache.keep(
            assigned.lead,
            model=assigned.work.model,
            events=events,
            tags=assigned.cache.tags,
            ttl_seconds=assigned.cache.ttl_seconds,
        )


def _broke_off() -> ShoalError:
    return ShoalError(Reason.MODEL_UNAVAILABLE, "The agent broke off before its answer was complete.")
