"""The call that is being served, and what of it travels on."""

import asyncio
import dataclasses
import time
import uuid

import pytest

from meshkit import call, tracing
from meshkit.call import Call
from meshkit.deadline import MARGIN_SECONDS
from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication, Identity

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
IDENTITY = Identity("acme", "premium", "key_1", Authentication.API_KEY, 0)


def a_call(*, request_id: str = "request-1", seconds: float = 100.0) -> Call:
    return Call(request_id=request_id, identity=IDENTITY, signed_identity="signed", deadline=time.monotonic() + seconds)


def test_outside_of_a_call_there_is_none() -> None:
    with pytest.raises(LookupError):
        call.current()


def test_a_call_is_current_while_it_is_served_and_not_after() -> None:
    outer, inner = a_call(request_id="outer"), a_call(request_id="inner")
    with call.serving(outer):
        with call.serving(inner):
            assert call.current() is inner
        assert call.current() is outer
    with pytest.raises(LookupError):
        call.current()


def test_work_beside_a_call_is_in_its_name_and_has_its_own_time() -> None:
    served = a_call(seconds=1)
    with call.serving(served):
        with call.beside(seconds=100):
            assert call.current() == dataclasses.replace(served, deadline=call.current().deadline)
            assert 50 < call.onward_timeout() <= 100
        assert call.current() is served


async def test_two_calls_at_once_do_not_see_each_other() -> None:
    both_began = asyncio.Barrier(2)

    async def served(request_id: str) -> str:
        with call.serving(a_call(request_id=request_id)):
            await both_began.wait()
            return call.current().request_id

    one, other = await asyncio.gather(served("one"), served("other"))
    assert (one, other) == ("one", "other")


def test_identity_request_id_and_trace_travel_on_and_nothing_else() -> None:
    with call.serving(a_call()), tracing.server_span("test", {"traceparent": TRACEPARENT}):
        assert dict(call.onward_metadata()) == {
            "x-shoal-identity": "signed",
            "x-request-id": "request-1",
            "traceparent": TRACEPARENT,
        }


def test_session_and_address_travel_on_where_they_are_known() -> None:
    belonging = dataclasses.replace(a_call(), session_id="s-1", client_address="203.0.113.7")
    with call.serving(belonging):
        assert call.onward_metadata()[2:] == (("x-session-id", "s-1"), ("x-shoal-client-address", "203.0.113.7"))
        assert dict(call.onward_metadata(session_id="s-2"))["x-session-id"] == "s-2"


def test_without_a_trace_none_travels_on() -> None:
    with call.serving(a_call()):
        assert [key for key, _ in call.onward_metadata()] == ["x-shoal-identity", "x-request-id"]


def test_the_next_hop_gets_less_time_than_is_left() -> None:
    with call.serving(a_call(seconds=100)):
        assert 0 < call.onward_timeout() <= 100 - MARGIN_SECONDS
        assert call.onward_timeout(longest_seconds=1.5) == 1.5


def test_a_call_whose_time_is_over_calls_nobody() -> None:
    with call.serving(a_call(seconds=0)), pytest.raises(ShoalError) as raised:
        call.onward_timeout()
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED


@pytest.mark.parametrize("given", ["7", "0c8e2b1e-6a52-4f3b-9d0e-3f0a6f1c2b11", "a/b:c=d!~", "x" * 128])
def test_a_request_id_that_was_given_is_kept(given: str) -> None:
    assert call.request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "two words", "täg", "line\nbreak", "\x1b[31m", "x" * 129])
def test_a_request_id_that_could_not_travel_on_is_replaced(given: str | None) -> None:
    assert uuid.UUID(call.request_id(given)).version == 4
