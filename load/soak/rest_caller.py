"""A client of the REST API in a soak."""

import json

import aiohttp

from load.soak.calls import CANCELLED_AFTER, BrokenError, check_whole
from load.soak.tally import Outcome

_TASK = "/api/v1/task"


class RestCaller:
    """Makes calls with one key. Its connections are kept alive; the session is closed by whoever opened it.

    Every method raises ClientError, TimeoutError or BrokenError if it did not go as it should.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, task: str, cache: str = "default", session_id: str | None = None) -> Outcome:
        body = {"task": task, "cache": {"mode": cache}, "session_id": session_id}
        async with self._session.post(_TASK, json=body) as response:
            await _check_status(response)
            check_whole((await response.json())["output"])
        return Outcome.ANSWERED

    async def ask_limited(self, task: str) -> Outcome:
        """May be refused by the limit."""
        async with self._session.post(_TASK, json={"task": task}) as response:
            await _check_status(response, 200, 429)
            await response.read()
            return Outcome.ANSWERED if response.status == 200 else Outcome.LIMITED

    async def stream(self, task: str) -> Outcome:
        async with self._session.post(_TASK, json=_streamed(task)) as response:
            await _check_status(response)
            lines = [line.decode().strip() async for line in response.content]
        if "data: [DONE]" not in lines:
            raise BrokenError(f"a stream without its end: {lines[-3:]}")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        check_whole("".join(event["text"] for event in events if event["type"] == "delta"))
        return Outcome.ANSWERED

    async def leave(self, task: str) -> Outcome:
        """Hangs up in the middle of a stream."""
        deltas = 0
        async with self._session.post(_TASK, json=_streamed(task)) as response:
            await _check_status(response)
            async for line in response.content:
                deltas += b'"type":"delta"' in line
                if deltas == CANCELLED_AFTER:
                    response.close()
                    return Outcome.CANCELLED
        raise BrokenError(f"a stream that ended after {deltas} deltas")

    async def forget(self, session_id: str) -> Outcome:
        """Ends a conversation."""
        async with self._session.delete(f"/api/v1/sessions/{session_id}") as response:
            await _check_status(response)
        return Outcome.ANSWERED


async def _check_status(response: aiohttp.ClientResponse, *wanted: int) -> None:
    """Raises BrokenError for another than these; by default, than 200."""
    if response.status not in (wanted or (200,)):
        raise BrokenError(f"{response.status} {await response.text()}")


def _streamed(task: str) -> dict[str, object]:
    return {"task": task, "stream": True, "cache": {"mode": "bypass"}}
