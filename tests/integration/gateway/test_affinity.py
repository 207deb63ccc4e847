"""What an agent's choice may depend on is passed on: the session, and the address that Envoy saw."""

import httpx
import pytest

from meshkit.call import ADDRESS_HEADER, SESSION_HEADER
from tests.integration.gateway.scripted_agent import ScriptedAgent

pytestmark = pytest.mark.asyncio(loop_scope="package")

ADDRESS = {"x-envoy-external-address": "203.0.113.7"}


async def passed_on(
    http: httpx.AsyncClient, agent: ScriptedAgent, headers: dict[str, str], **body: object
) -> dict[str, str]:
    response = await http.post("/api/v1/task", json={"task": "hello", **body}, headers=headers)
    assert response.status_code == 200, response.text
    return {key: value for key, value in agent.metadata[-1].items() if key in (SESSION_HEADER, ADDRESS_HEADER)}


async def test_the_session_of_the_body_goes_before_that_of_the_header(
    http: httpx.AsyncClient, agent: ScriptedAgent
) -> None:
    headers = {SESSION_HEADER: "of-the-header"}
    assert await passed_on(http, agent, headers, session_id="s-1") == {SESSION_HEADER: "s-1"}
    assert await passed_on(http, agent, headers) == {SESSION_HEADER: "of-the-header"}
    assert await passed_on(http, agent, headers, session_id="new") == {SESSION_HEADER: "of-the-header"}
    streamed = await http.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert "[DONE]" in streamed.text
    assert agent.metadata[-1][SESSION_HEADER] == "of-the-header"


async def test_without_a_session_none_is_passed_on(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    assert await passed_on(http, agent, {}) == {}
    assert await passed_on(http, agent, {}, session_id="new") == {}


@pytest.mark.parametrize("value", ["two words", "x" * 129, "t\u00e4g", "new", ""])
async def test_a_header_that_names_no_session_is_ignored(
    http: httpx.AsyncClient, agent: ScriptedAgent, value: str
) -> None:
    response = await http.post(
        "/api/v1/task", json={"task": "hello"}, headers=[(SESSION_HEADER.encode(), value.encode())]
    )
    assert response.status_code == 200
    assert SESSION_HEADER not in agent.metadata[-1]


async def test_the_address_is_the_one_that_envoy_saw(http: httpx.AsyncClient, agent: ScriptedAgent) -> None:
    forged = {ADDRESS_HEADER: "198.51.100.1", "x-forwarded-for": "198.51.100.2"}
    assert await passed_on(http, agent, forged) == {}
    assert await passed_on(http, agent, forged | ADDRESS) == {ADDRESS_HEADER: "203.0.113.7"}
    assert await passed_on(http, agent, {"x-envoy-external-address": "no address"}) == {}


CHAT = {"model": "small", "messages": [{"role": "user", "content": "hello"}], "stream": True}
