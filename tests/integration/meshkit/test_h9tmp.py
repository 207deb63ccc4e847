import asyncio, gc, time, pytest
from tests.integration.meshkit.test_slow_readers import *
@pytest.mark.parametrize("collect",[0,1])
async def test_x(collect):
    async with guarded_server(slow_client_seconds=PATIENCE_SECONDS) as server:
        server.agent.execute_stream = floods
        running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed())
        t=asyncio.get_running_loop().time()
        await server.counts(EXECUTE_STREAM, "DEADLINE_EXCEEDED")
        while server.guard.running: await asyncio.sleep(0.01)
        if collect: print("gc", gc.collect())
        await asyncio.sleep(1)
        n=0
        try:
            async for x in running: n+=1
        except grpc.aio.AioRpcError as e: print(n, e.code(), e.details())
async def test_y():
    async with guarded_server(slow_client_seconds=PATIENCE_SECONDS) as server:
        server.agent.execute_stream = floods
        running = server.stub.ExecuteStream(pb.ExecuteStreamRequest(), metadata=signed())
        await server.counts(EXECUTE_STREAM, "DEADLINE_EXCEEDED")
        while server.guard.running: await asyncio.sleep(0.01)
        t=time.time()
        await server.server.stop(5)
        print("stop took", time.time()-t)
