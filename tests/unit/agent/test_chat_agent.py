"""The agent that Shoal brings."""

from services.agent.chat_agent import ChatAgent
from services.agent.conversation import Message, Role, Sampling, Tool
from services.agent.ports import AgentTurn, ChatRequest, OutputCaching
from tests.unit.agent.scripted_model import ScriptedModel
from tests.unit.agent.world import HELLO

CACHING = OutputCaching(tenant="acme", part_of="k", generation=5, refresh=False, ttl_seconds=None, tags=())


async def test_the_model_gets_what_the_turn_has_and_its_answer_is_the_agents() -> None:
    model = ScriptedModel("small", answer=HELLO)
    turn = AgentTurn(
        model="small",
        messages=(Message(Role.USER, "Hi."),),
        sampling=Sampling(seed=1),
        tools=(Tool("add", "", {}),),
        tool_choice="add",
        tenant="acme",
        output_caching=CACHING,
        in_one_piece=True,
    )
    assert [event async for event in ChatAgent(model).run(turn)] == list(HELLO)
    assert model.requests == [
        ChatRequest(
            model="small",
            messages=turn.messages,
            sampling=turn.sampling,
            tools=turn.tools,
            tool_choice="add",
            output_caching=CACHING,
            in_one_piece=True,
        )
    ]
