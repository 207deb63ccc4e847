"""A caller's deadline passes while the model is at work."""

import grpc

from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests.mesh import running_mesh
from tests.simulated_model import simulated_model

HANGS = ("[[hang]]", "[[hang_after=3]]", "[[first_token=5]]")


async def test_it_is_told_as_what_it_is_and_the_model_is_stopped() -> None:
    codes: list[grpc.StatusCode] = []
    async with simulated_model() as model:
        with running_mesh(SHOAL_MODEL_BASE_URL=f"{model.url}/v1") as mesh:
            async with grpc.aio.insecure_channel(mesh.grpc_target) as channel:
                agent = agent_pb2_grpc.AgentServiceStub(channel)
                for task in HANGS * 5:
                    turn = pb.ExecuteRequest(task=f"Wait. {task}", cache=pb.CacheControl(mode=pb.CACHE_MODE_BYPASS))
                    try:
                        await agent.Execute(turn, metadata=(("x-api-key", mesh.api_key),), timeout=0.5)
                    except grpc.aio.AioRpcError as error:
                        codes.append(error.code())
                await model.calls_reach(concurrent=0, waiting=0)
    assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED] * len(HANGS) * 5
