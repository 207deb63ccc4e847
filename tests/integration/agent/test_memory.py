"""Sessions and preferences through a real replica."""

import time
from pathlib import Path

import pytest

from meshkit.errors import Reason
from meshkit.identity import Authentication
from meshkit.json_struct import from_struct, to_struct
from services.agent.session_store import SESSION_TTL_SECONDS
from shoal.agent.v1 import agent_pb2 as pb
from tests import backends
from tests.integration.agent.agent_process import AgentProcess, Caller, agent_process, hanging
from tests.mesh_identity import signed
from tests.refusal import refusal
from tests.simulated_model import Server


def in_session(session_id: str, task: str = "hello [[tokens=1]]") -> pb.ExecuteRequest:
    return pb.ExecuteRequest(task=task, session_id=session_id)


def preferences(version: int | None = None, **values: object) -> pb.PutPreferencesRequest:
    return pb.PutPreferencesRequest(user_id="ann", preferences=to_struct(values), expected_version=version)


def take_away_the_database(folder: Path) -> None:
    for file in folder.glob("agent.db*"):
        file.unlink()
    (folder / "agent.db").mkdir()


async def test_a_session_is_begun_continued_read_and_deleted(acme: Caller, model: Server) -> None:
    session_id = (await acme.execute(in_session("new"))).session_id
    assert session_id not in ("", "new")
    (*_, completed) = await acme.events(in_session(session_id, "again [[tokens=1]]"))
    assert completed.WhichOneof("event") == "completed"
    sent = (await model.calls())["last_request"]["messages"]
    assert [message["content"] for message in sent[1:]] == ["hello [[tokens=1]]", "hello", "again [[tokens=1]]"]
    session = await acme.get_session(session_id)
    assert [(message.role, message.content) for message in session.messages] == [
        (pb.ROLE_USER, "hello [[tokens=1]]"),
        (pb.ROLE_ASSISTANT, "hello"),
        (pb.ROLE_USER, "again [[tokens=1]]"),
        (pb.ROLE_ASSISTANT, "again"),
    ]
    assert SESSION_TTL_SECONDS - 60 < session.expires.seconds - time.time() <= SESSION_TTL_SECONDS
    assert (await acme.delete_session(session_id)).existed
    assert not (await acme.delete_session(session_id)).existed
    assert (await refusal(acme.get_session(session_id))).reason is Reason.SESSION_NOT_FOUND


async def test_a_turn_whose_session_is_deleted_meanwhile_is_not_kept(acme: Caller) -> None:
    stream = acme.stream(in_session("s", "one two [[tokens=2]] [[first_token=2]]"))
    await anext(aiter(stream))
    await acme.delete_session("s")
    assert (await refusal(stream)).reason is Reason.SESSION_DELETED
    assert (await refusal(acme.get_session("s"))).reason is Reason.SESSION_NOT_FOUND


async def test_after_a_wish_for_a_tool_the_session_goes_on(acme: Caller, model: Server) -> None:
    """A model refuses a prompt with a call that nobody answered."""
    await acme.execute(in_session("s", "[[tool=add]]"))
    assert (await acme.execute(in_session("s"))).output == "hello"
    sent = (await model.calls())["last_request"]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "user"]
    assert len((await acme.get_session("s")).messages) == 4


async def test_sessions_and_preferences_of_tenants_are_apart(agent: AgentProcess, acme: Caller) -> None:
    await acme.execute(in_session("s"))
    await acme.put_preferences(preferences(a=1))
    async with Caller(agent.address, signed("rival")) as rival:
        assert (await refusal(rival.get_session("s"))).reason is Reason.SESSION_NOT_FOUND
        assert not (await rival.delete_session("s")).existed
        assert (await rival.get_preferences("ann")).version == 0
    assert len((await acme.get_session("s")).messages) == 2


async def test_without_a_key_only_sessions_that_the_server_named_can_be_used(agent: AgentProcess, tenant: str) -> None:
    anonymous = signed(tenant, authentication=Authentication.ANONYMOUS)
    async with Caller(agent.address, anonymous) as caller:
        assert (await refusal(caller.execute(in_session("mine")))).reason is Reason.SESSION_NOT_FOUND
        session_id = (await caller.execute(in_session("new"))).session_id
        await caller.execute(in_session(session_id))
        assert len((await caller.get_session(session_id)).messages) == 4
        about_ann = pb.ExecuteRequest(task="hello", user_id="ann")
        for call in (
            caller.execute(about_ann),
            caller.get_preferences("ann"),
            caller.put_preferences(preferences(a=1)),
        ):
            assert (await refusal(call)).reason is Reason.API_KEY_REQUIRED


async def test_whom_the_limiter_could_not_check_has_neither_sessions_nor_preferences(agent: AgentProcess) -> None:
    unchecked = signed("acme", authentication=Authentication.UNCHECKED)
    async with Caller(agent.address, unchecked) as caller:
        assert (await caller.execute(pb.ExecuteRequest(task="hello [[tokens=1]]"))).output == "hello"
        for call in (
            caller.execute(in_session("new")),
            caller.get_session("s"),
            caller.delete_session("s"),
            caller.execute(pb.ExecuteRequest(task="hello", user_id="ann")),
            caller.get_preferences("ann"),
            caller.put_preferences(preferences(a=1)),
        ):
            error = await refusal(call)
            assert (error.reason, error.retry_after_seconds) == (Reason.LIMITER_UNAVAILABLE, 1.0)


async def test_preferences_are_kept_counted_and_shown_to_the_model(acme: Caller, model: Server) -> None:
    unknown = await acme.get_preferences("ann")
    assert (from_struct(unknown.preferences, field=""), unknown.version) == ({}, 0)
    assert (await acme.put_preferences(preferences(language="en"))).version == 1
    assert (await acme.put_preferences(preferences(1, language="de", tags=[1, 2.5, None]))).version == 2
    kept = await acme.get_preferences("ann")
    assert from_struct(kept.preferences, field="") == {"language": "de", "tags": [1, 2.5, None]}
    await acme.execute(pb.ExecuteRequest(task="hello", user_id="ann"))
    system, _ = (await model.calls())["last_request"]["messages"]
    assert '{"language":"de","tags":[1,2.5,null]}' in system["content"]


@pytest.mark.parametrize("version", [0, 2, 2**64 - 1])
async def test_a_put_on_another_version_is_a_conflict(acme: Caller, version: int) -> None:
    await acme.put_preferences(preferences(a=1))
    error = await refusal(acme.put_preferences(preferences(version, a=2)))
    assert (error.reason, error.field) == (Reason.PREFERENCES_CONFLICT, "expected_version")


async def test_when_the_state_hangs_a_turn_alone_goes_on_and_one_in_a_session_is_refused(
    model: Server, tmp_path: Path
) -> None:
    with (
        backends.valkey(tmp_path) as redis_url,
        hanging(redis_url),
        agent_process(tmp_path, redis_url=redis_url, model_url=model.url) as agent,
    ):
        async with Caller(agent.address, signed("acme")) as caller:
            assert (await caller.execute(pb.ExecuteRequest(task="hello [[tokens=1]]"))).output == "hello"
            for call in (
                caller.execute(in_session("s")),
                caller.execute(in_session("new")),
                caller.get_session("s"),
                caller.delete_session("s"),
            ):
                assert (await refusal(call)).reason is Reason.STATE_UNAVAILABLE


async def test_without_its_database_the_agent_answers_all_but_what_needs_it(
    valkey_url: str, model: Server, tmp_path: Path
) -> None:
    with agent_process(tmp_path, redis_url=valkey_url, model_url=model.url) as agent:
        take_away_the_database(tmp_path)
        async with Caller(agent.address, signed("acme")) as caller:
            assert (await caller.execute(pb.ExecuteRequest(task="hello [[tokens=1]]"))).output == "hello"
            about_ann = pb.ExecuteRequest(task="hello", user_id="ann")
            for call in (caller.execute(about_ann), caller.get_preferences("ann")):
                assert (await refusal(call)).reason is Reason.DATABASE_UNAVAILABLE
