"""Work that goes on beside the calls that gave rise to it."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from meshkit import call
from meshkit.call import Call
from meshkit.errors import Reason, ShoalError
from services.agent.renewals import Renewals
from tests.unit.agent.world import ACME, all_else_done

SERVED = Call("request-1", ACME, "signed", deadline=time.monotonic() + 5)


class Work:
    """Waits until it may go on; knows in whose name and until when it works."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.calls: list[Call] = []
        self.done = 0
        self.cleaned_up = 0

    async def __call__(self) -> None:
        self.calls.append(call.current())
        self.has_begun.set()
        try:
            await self.may_go_on.wait()
            self.done += 1
        finally:
            await asyncio.sleep(0)
            self.cleaned_up += 1


async def test_it_goes_on_after_the_call_in_its_name_with_a_deadline_of_its_own() -> None:
    renewals, work = Renewals(most=1, seconds=60), Work()
    with call.serving(SERVED):
        renewals.begin(work)
    work.may_go_on.set()
    await all_else_done()
    (own,) = work.calls
    assert (own.request_id, own.identity, own.signed_identity) == ("request-1", ACME, "signed")
    assert SERVED.deadline + 30 < own.deadline <= time.monotonic() + 60
    assert work.done == 1


async def test_no_more_than_the_most_run_at_once_and_those_beyond_are_skipped() -> None:
    renewals, work = Renewals(most=2, seconds=60), Work()
    with call.serving(SERVED), capture_logs() as logs:
        for _ in range(5):
            renewals.begin(work)
        work.may_go_on.set()
        await all_else_done()
        assert work.done == 2
        assert [line["event"] for line in logs] == ["renewal skipped"] * 3
        renewals.begin(work)
        await all_else_done()
        assert work.done == 3, "there is room again"


async def test_at_the_end_those_that_run_are_cancelled_and_have_cleaned_up() -> None:
    renewals, work = Renewals(most=2, seconds=60), Work()
    with call.serving(SERVED), capture_logs() as logs:
        renewals.begin(work)
        renewals.begin(work)
        await work.has_begun.wait()
        await renewals.close()
    assert (work.done, work.cleaned_up) == (0, 2)
    assert logs == []


async def test_one_that_takes_too_long_is_ended() -> None:
    renewals, work = Renewals(most=1, seconds=0.001), Work()
    with call.serving(SERVED), capture_logs() as logs:
        renewals.begin(work)
        await all_else_done()
    assert (work.done, work.cleaned_up) == (0, 1)
    assert [(line["event"], line["log_level"]) for line in logs] == [("renewal failed", "warning")]


@pytest.mark.parametrize("error", [ShoalError(Reason.RATE_LIMITED, "No."), RuntimeError("a bug")])
async def test_an_error_is_logged_once_and_raised_nowhere(error: Exception) -> None:
    async def fail() -> None:
        raise error

    renewals = Renewals(most=1, seconds=60)
    with call.serving(SERVED), capture_logs() as logs:
        renewals.begin(fail)
        await all_else_done()
    assert [(line["event"], line["log_level"]) for line in logs] == [("renewal failed", "warning")]
