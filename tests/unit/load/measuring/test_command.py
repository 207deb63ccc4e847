"""Commands that measure: what goes wrong ends in a sentence, and a fault of ours is shown as it is."""

import asyncio
from collections.abc import Sequence

import click
import grpc
import pytest

from load.measuring import command
from load.measuring.generator import MeasurementError

UNAVAILABLE = grpc.aio.AioRpcError(
    grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="nobody listens"
)
FAILURES: dict[str, tuple[Exception, str]] = {
    "a measurement": (MeasurementError("the cache has no level l1"), "the cache has no level l1"),
    "a call": (UNAVAILABLE, "a call failed with UNAVAILABLE: nobody listens"),
    "time that is over": (TimeoutError("waited 30 s in vain"), "waited 30 s in vain"),
    "a failure that says nothing": (TimeoutError(), "TimeoutError"),
}


def run(failure: Exception, *, in_group: bool) -> None:
    async def alone() -> Sequence[str]:
        raise failure

    async def together() -> Sequence[str]:
        async with asyncio.TaskGroup() as group:
            group.create_task(alone())
        return []

    command.run({"speed": together if in_group else alone})


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
def test_what_cannot_be_measured_ends_in_a_sentence(failure: str, in_group: bool) -> None:
    error, sentence = FAILURES[failure]
    with pytest.raises(click.ClickException) as raised:
        run(error, in_group=in_group)
    assert raised.value.message == sentence


@pytest.mark.parametrize("in_group", [False, True])
def test_a_fault_of_ours_keeps_its_traceback(in_group: bool) -> None:
    with pytest.raises(ExceptionGroup if in_group else AttributeError):
        run(AttributeError("no such thing"), in_group=in_group)
