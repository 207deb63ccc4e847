"""A reservation by itself. How turns use it is tested with the turns."""

import asyncio

from services.agent.conversation import Delta, Message, Role, Sampling
from services.agent.ports import AgentTurn
from services.agent.reservations import Reserver
from tests.unit.agent.world import MemoryQuota

TURN = AgentTurn(
    model="small",
    messages=(Message(Role.USER, "x" * 12),),
    sampling=Sampling(max_tokens=20),
    tools=(),
    tool_choice="",
    tenant="acme",
)


async def test_a_reservation_is_settled_once_however_often_it_is_asked_for() -> None:
    quota = MemoryQuota()
    reserver = Reserver(quota, answer_tokens=1000, ttl_seconds=60, mint_id=lambda prefix: f"{prefix}_1")
    async with reserver.held(TURN) as reservation:
        assert quota.running == {"reservation_1": 4 + 8 + 20}
        reservation.meter.begin()
        await asyncio.gather(reservation.settle(), reservation.settle())
        assert (quota.running, quota.settled) == ({}, [("reservation_1", 4 + 8)])
        reservation.meter.count(Delta("too late"))
    assert quota.settled == [("reservation_1", 4 + 8)]
