"""Who and what is refused, by every RPC, with the field that is at fault."""

import math
from collections.abc import Awaitable, Callable

import grpc
import pytest

from meshkit.errors import Reason
from meshkit.identity import Authentication
from meshkit.json_struct import to_struct
from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import AgentProcess, Caller, StreamCall
from tests.mesh_identity import FORGER, Metadata, signed
from tests.refusal import refusal

SERVICE = pb.DESCRIPTOR.services_by_name["AgentService"]
Call = Callable[[Caller], Awaitable[object] | StreamCall]

CALLS: dict[str, Call] = {
    "Execute": lambda caller: caller.execute(pb.ExecuteRequest(task="hello")),
    "ExecuteStream": lambda caller: caller.stream(pb.ExecuteRequest(task="hello")),
    "GetSession": lambda caller: caller.get_session("s"),
    "DeleteSession": lambda caller: caller.delete_session("s"),
    "GetPreferences": lambda caller: caller.get_preferences("ann"),
    "PutPreferences": lambda caller: caller.put_preferences(pb.PutPreferencesRequest(user_id="ann")),
    "ListModels": lambda caller: caller.list_models(),
}
CALLERS: dict[str, tuple[Metadata, Reason]] = {
    "unsigned": ((), Reason.IDENTITY_INVALID),
    "empty": ((("x-shoal-identity", ""),), Reason.IDENTITY_INVALID),
    "forged": (signed("acme", signer=FORGER), Reason.IDENTITY_INVALID),
    "expired": (signed("acme", lifetime_seconds=-1), Reason.IDENTITY_INVALID),
    "signed twice": (signed("acme") + signed("rival"), Reason.IDENTITY_INVALID),
    "signed and forged": ((*signed("acme"), ("x-shoal-identity", "forged")), Reason.IDENTITY_INVALID),
    "unknown key": (signed("acme", authentication=Authentication.UNKNOWN_KEY), Reason.API_KEY_INVALID),
    "several keys": (signed("acme", authentication=Authentication.SEVERAL_KEYS), Reason.API_KEY_AMBIGUOUS),
    "no key though one is required": (
        signed("acme", authentication=Authentication.MISSING_KEY),
        Reason.API_KEY_REQUIRED,
    ),
}
BAD_TURNS = {
    "no task": (pb.ExecuteRequest(), "task"),
    "a long task": (pb.ExecuteRequest(task="x" * (256 * 1024 + 1)), "task"),
    "NUL": (pb.ExecuteRequest(task="a\0"), "task"),
    "a session id": (pb.ExecuteRequest(task="a", session_id="a/b"), "session_id"),
    "a user id": (pb.ExecuteRequest(task="a", user_id="u" * 129), "user_id"),
    "an unknown model": (pb.ExecuteRequest(task="a", model="largest"), "model"),
    "temperature": (pb.ExecuteRequest(task="a", sampling=pb.SamplingParameters(temperature=3)), "temperature"),
    "no number": (pb.ExecuteRequest(task="a", sampling=pb.SamplingParameters(temperature=math.nan)), "temperature"),
    "max_tokens": (pb.ExecuteRequest(task="a", sampling=pb.SamplingParameters(max_tokens=0)), "max_tokens"),
    "top_p": (pb.ExecuteRequest(task="a", sampling=pb.SamplingParameters(top_p=0)), "top_p"),
    "stop": (pb.ExecuteRequest(task="a", sampling=pb.SamplingParameters(stop=[""])), "stop"),
    "tools": (pb.ExecuteRequest(task="a", tools=[pb.Tool(name="a b")]), "tools"),
    "tool_choice": (pb.ExecuteRequest(task="a", tool_choice="add"), "tool_choice"),
    "cache.mode": (
        pb.ExecuteRequest(task="a", cache=pb.CacheControl(mode=pb.CacheMode.ValueType(9))),
        "cache.mode",
    ),
    "history": (pb.ExecuteRequest(task="a", history=[pb.Message(content="x")]), "history"),
    "infinite context": (pb.ExecuteRequest(task="a", context=to_struct({"a": math.inf})), "context"),
}
BAD_BYTES = {
    "invalid UTF-8": pb.ExecuteRequest(task="task").SerializeToString().replace(b"task", b"\xff\xfe\xfd\xfc"),
    "no protobuf": b"\xff\xff\xff\xff",
    "cut off": pb.ExecuteRequest(task="task").SerializeToString()[:-1],
    "JSON": b'{"task": "hello"}',
}


@pytest.mark.parametrize("rpc", CALLS)
@pytest.mark.parametrize("kind", CALLERS)
async def test_a_caller_who_is_not_good_is_refused_by_every_rpc(agent: AgentProcess, rpc: str, kind: str) -> None:
    metadata, reason = CALLERS[kind]
    async with Caller(agent.address, metadata) as caller:
        error = await refusal(CALLS[rpc](caller))
    assert (error.reason, error.code) == (reason, "UNAUTHENTICATED")


def test_there_is_a_refusal_test_for_every_rpc() -> None:
    assert set(CALLS) == set(SERVICE.methods_by_name)


@pytest.mark.parametrize(("request_", "field"), BAD_TURNS.values(), ids=BAD_TURNS)
async def test_a_bad_turn_is_refused_by_the_name_of_its_field(
    acme: Caller, request_: pb.ExecuteRequest, field: str
) -> None:
    for call in (acme.execute(request_), acme.stream(request_)):
        error = await refusal(call)
        assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


@pytest.mark.parametrize("data", BAD_BYTES.values(), ids=BAD_BYTES)
@pytest.mark.parametrize("rpc", sorted(set(CALLS) - {"ListModels"}))  # whose request has no fields to be wrong
async def test_bytes_that_are_no_request_are_the_callers_fault(acme: Caller, rpc: str, data: bytes) -> None:
    assert (await refusal(send_bytes(acme, rpc, data))).code == "INVALID_ARGUMENT"


def send_bytes(caller: Caller, rpc: str, data: bytes) -> Awaitable[object] | StreamCall:
    """A call without stubs, which would not let such bytes pass."""
    path = f"/{SERVICE.full_name}/{rpc}"
    if rpc == "ExecuteStream":
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, pb.ExecuteStreamResponse] = caller.channel.unary_stream(path)
        return stream(data, metadata=caller.metadata)
    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = caller.channel.unary_unary(path)
    return unary(data, metadata=caller.metadata)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda caller: caller.get_session(""), "session_id"),
        (lambda caller: caller.get_session("a b"), "session_id"),
        (lambda caller: caller.delete_session(""), "session_id"),
        (lambda caller: caller.delete_session("s" * 129), "session_id"),
        (lambda caller: caller.get_preferences(""), "user_id"),
        (lambda caller: caller.get_preferences("../ann"), "user_id"),
        (lambda caller: caller.put_preferences(pb.PutPreferencesRequest()), "user_id"),
        (lambda caller: caller.put_preferences(preferences({"a": "x" * (16 * 1024)})), "preferences"),
        (lambda caller: caller.put_preferences(preferences({"a": math.nan})), "preferences"),
    ],
)
async def test_what_cannot_be_named_or_kept_is_refused_by_the_name_of_its_field(
    acme: Caller, call: Call, field: str
) -> None:
    error = await refusal(call(acme))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


def preferences(values: dict[str, object]) -> pb.PutPreferencesRequest:
    return pb.PutPreferencesRequest(user_id="ann", preferences=to_struct(values))


async def test_a_task_of_exactly_the_limit_is_taken(acme: Caller) -> None:
    suffix = " [[tokens=1]] x"
    task = " " * (256 * 1024 - len(suffix)) + suffix
    assert (await acme.execute(pb.ExecuteRequest(task=task))).output == "x"
