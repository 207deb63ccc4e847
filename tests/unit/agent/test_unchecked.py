"""What callers may do whom the limiter could not check."""

import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.request import TurnRequest
from tests.unit.agent.world import STOP, UNCHECKED, World

FREE = "large"
"""A model without a price; the default one has one."""


async def test_a_turn_alone_with_a_model_that_costs_nothing_goes_on() -> None:
    world = World()
    assert (await world.events(TurnRequest(task="Hi.", model=FREE), UNCHECKED))[-1] == STOP
    assert world.quota.asked == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (TurnRequest(task="Hi.", model=FREE, session_id="s"), "session_id"),
        (TurnRequest(task="Hi.", model=FREE, session_id="new"), "session_id"),
        (TurnRequest(task="Hi.", model=FREE, user_id="ann"), "user_id"),
        (TurnRequest(task="Hi."), "model"),
        (TurnRequest(task="Hi.", model="small"), "model"),
    ],
)
async def test_sessions_preferences_and_paid_models_wait_for_the_limiter(request_: TurnRequest, field: str) -> None:
    world = World()
    with pytest.raises(ShoalError) as refused:
        await world.events(request_, UNCHECKED)
    assert (refused.value.reason, refused.value.field) == (Reason.LIMITER_UNAVAILABLE, field)
    assert "limiter" in refused.value.message
    assert world.agent.turns == []
