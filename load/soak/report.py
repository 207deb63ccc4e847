"""The section of the results page about a soak."""

import itertools
from collections.abc import Callable, Sequence

from load.measuring.report import Table
from load.soak.flatness import DESCRIPTORS, DESCRIPTORS_SHARE, MEMORY_BYTES, MEMORY_SHARE, Life, lives
from load.soak.record import Change, Sample, Soak
from load.soak.tally import KILL_FELT_SECONDS, Outcome

SINCE_SHARE, WARM_UP_SHARE, LEAST_SHARE = 0.5, 0.1, 0.3
"""Of the soak: from when on lives are judged, as by then nothing is restarted any more, how much of a life is not, and
how much must be left of it."""
_MIB = 2**20
_FAILURES_SHOWN = 10


def judged(soak: Soak) -> list[Life]:
    seconds = 60 * soak.minutes
    return lives(
        soak.samples, since=SINCE_SHARE * seconds, warm_up=WARM_UP_SHARE * seconds, least=LEAST_SHARE * seconds
    )


def section(soak: Soak) -> str:
    """Markdown for the page of all results."""
    return "\n\n".join(
        [
            f"## A soak of {soak.minutes:g} minutes",
            f"`make soak` (`{soak.command}`). {soak.provenance}",
            "![Memory, descriptors and calls over time](results/soak.svg)",
            "\n".join(f"- {finding}" for finding in findings(soak)),
            _calls(soak).markdown(),
            _flatness(soak).markdown(),
            *_failures(soak),
        ]
    )


def findings(soak: Soak) -> list[str]:
    """What follows from the numbers, and nothing else."""
    found = judged(soak)
    total, failed, unchecked = (_total(soak, *of) for of in (Outcome, [Outcome.FAILED], [Outcome.UNCHECKED]))
    changes = "; ".join(map(_told, soak.changes))
    return [
        _finding("Memory", found, lambda life: life.memory_is_flat),
        _finding("The number of descriptors", found, lambda life: life.descriptors_are_flat),
        f"{total} calls, {_total(soak, Outcome.CANCELLED)} of them cancelled by their callers; {failed} failed "
        f"unexpectedly, {unchecked} were refused since the limiter did not answer in time, "
        f"{_total(soak, Outcome.KILLED)} were broken by a kill -9.",
        f"Restarted or killed meanwhile: {changes or 'nothing'}.",
        f"The mesh took {_cores(soak.samples):.2f} of a core on average, its model and the callers not counted.",
    ]


def _told(change: Change) -> str:
    failed = f", which failed: {change.error.rstrip('.')}" if change.error else ""
    return f"{change.what} in minute {change.began / 60:.1f}{failed}"


def _finding(what: str, found: Sequence[Life], is_flat: Callable[[Life], bool]) -> str:
    services = sorted({life.service for life in found})
    growing = sorted({life.service for life in found if not is_flat(life)})
    if not found:
        return f"{what}: no process lived for long enough to be judged."
    if growing:
        return f"{what} is not flat in {', '.join(growing)}; of {len(services)} services."
    return f"{what} is flat in all {len(services)} services: {', '.join(services)}."


def _total(soak: Soak, *outcomes: str) -> int:
    return sum(counts.get(outcome, 0) for counts in soak.calls.values() for outcome in outcomes)


def _calls(soak: Soak) -> Table:
    table = Table(
        "Calls by kind and outcome",
        ("call", *(str(outcome) for outcome in Outcome)),
        note=f"Broken by kill -9 are failed calls that were under way when an agent was killed, or began at most "
        f"{KILL_FELT_SECONDS:g} s later. Known tasks are found in the cache once they were computed; new ones bypass "
        "it. The limited tenant has a key of the tier `free`, all others one of `bench`.",
    )
    for kind, counts in sorted(soak.calls.items()):
        table.rows.append((kind, *(counts.get(outcome, 0) for outcome in Outcome)))
    return table


def _flatness(soak: Soak) -> Table:
    table = Table(
        "What processes held",
        ("service", "process", "judged, minutes", "RSS, MiB, median", "growth, MiB", "flat",
         "descriptors, median", "growth", "flat"),
        note=f"Looked at every five seconds, and judged over the last {SINCE_SHARE:.0%} of the soak, in which nothing "
        f"is restarted: every process that lived for {LEAST_SHARE:.0%} of the soak in it, without the first "
        f"{WARM_UP_SHARE:.0%} of its life. Growth is what a line of least squares rises by over that time. Flat: at "
        f"most {MEMORY_SHARE:.0%} of the median or {MEMORY_BYTES / _MIB:g} MiB; at most {DESCRIPTORS_SHARE:.1%} or "
        f"{DESCRIPTORS:g} descriptor. RSS counts shared pages in each process. valkey-cache keeps the answers that are "
        "computed, up to its maxmemory; connections to Valkey are kept once they were needed, up to 64 a pool.",
    )  # fmt: skip
    for life in judged(soak):
        memory, descriptors = life.memory, life.descriptors
        table.rows.append(
            (life.service, life.name, f"{life.seconds / 60:.1f}", memory.median / _MIB, f"{memory.growth / _MIB:+.2f}",
             _yes(life.memory_is_flat), descriptors.median, f"{descriptors.growth:+.1f}",
             _yes(life.descriptors_are_flat))
        )  # fmt: skip
    return table


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _failures(soak: Soak) -> list[str]:
    """What failed unexpectedly, if anything did."""
    shown = [
        f"- minute {failure.seconds / 60:.2f}, {failure.what}: `{failure.error[:200]}`"
        for failure in soak.failures[:_FAILURES_SHOWN]
    ]
    return ["\n".join(["Unexpected failures, the first of them:", "", *shown])] if shown else []


def _cores(samples: Sequence[Sample]) -> float:
    """CPU seconds a second, of all processes as long as they were seen."""
    used = 0.0
    for before, after in itertools.pairwise(samples):
        known = {process.pid: process.cpu_seconds for process in before.processes}
        used += sum(process.cpu_seconds - known.get(process.pid, 0.0) for process in after.processes)
    return used / (samples[-1].seconds - samples[0].seconds)
