"""The mesh, its callers, its changes and those who look at it, for the time of a soak."""

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from load.measuring import fleet
from load.measuring.home import Home
from load.measuring.keys import create_keys
from load.measuring.progress import say
from load.measuring.servers import mesh, simulated_model
from load.soak import changes, processes, traffic
from load.soak.calls import TOKENS
from load.soak.record import Change, Sample
from load.soak.tally import Tally

SAMPLE_SECONDS = 5.0
CHANGES_SHARE = 0.5
"""Of the time: after that the processes are left alone, so that each service has lives that last."""
_SAYS_EVERY = 60
SETTINGS: Mapping[str, str] = {
    "SHOAL_GATEWAY_REPLICAS": "2",
    # All calls come from one address.
    "SHOAL_FLOOD_PER_SECOND": "100000",
    "SHOAL_FLOOD_BURST": "100000",
}
_MODEL = ("--first-token=lognormal:0.05,0.5", "--tokens-per-second=fixed:40", f"--output-tokens={TOKENS}")


@dataclass(slots=True)
class Seen:
    """What is noted as it goes on."""

    tally: Tally = field(default_factory=Tally)
    samples: list[Sample] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


async def soaked(minutes: float) -> Seen:
    """So many minutes of it."""
    async with (
        Home.made() as home,
        simulated_model(home, *_MODEL) as model,
        mesh(home, {"SHOAL_MODEL_BASE_URL": f"{model}/v1", **SETTINGS}) as running,
    ):
        await fleet.all_ready(home)
        key, limited = await create_keys(home, running.inner_address, ["bench", "free"])
        seen, seconds = Seen(), 60 * minutes
        beside = (
            traffic.go_on(running.address, key, limited, seen.tally),
            changes.go_on(home, seen.tally, seconds=CHANGES_SHARE * seconds, changes=seen.changes),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in beside]
            await _look(home, seen, seconds)
            for task in tasks:
                task.cancel()
        return seen


async def _look(home: Home, seen: Seen, seconds: float) -> None:
    """At all processes, again and again until the time is over."""
    for number in itertools.count():
        await asyncio.sleep(max(0.0, seen.tally.began + number * SAMPLE_SECONDS - time.monotonic()))
        now = time.monotonic() - seen.tally.began
        if now > seconds:
            return
        seen.samples.append(Sample(now, seen.tally.outcomes, processes.sampled(await fleet.listed(home))))
        if number and number % (_SAYS_EVERY // SAMPLE_SECONDS) == 0:
            outcomes = ", ".join(f"{count} {outcome}" for outcome, count in seen.tally.outcomes.items())
            say(f"soak: minute {now / 60:.0f} of {seconds / 60:g}: {outcomes}")
