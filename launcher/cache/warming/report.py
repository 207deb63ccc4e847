"""What became of the lines of a run: counted while it goes on, told at its end."""

import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from launcher.cache.warming.answers import Outcome, Result
from launcher.columns import aligned

SHOWN_LINES = 10
"""So many lines of a kind are told with their reasons."""
ASKED_AGAIN = "A run that begins anew asks what is not cacheable again, and pays for it again: take those lines out."
_WITH_REASON = (Outcome.NOT_CACHEABLE, Outcome.FAILED)


class Report:
    """Counts results. `on_line` is called after each."""

    def __init__(self, on_line: Callable[[], None]) -> None:
        self._on_line = on_line
        self._counts: Counter[Outcome] = Counter()
        self._reasons: defaultdict[Outcome, list[tuple[int, str]]] = defaultdict(list)
        """Those of the first lines, in their order, whenever these were done."""
        self._input_tokens = self._output_tokens = 0
        self._cost_usd = 0.0
        self._end = ""

    def add(self, line: int, result: Result) -> None:
        self._counts[result.outcome] += 1
        if result.outcome in _WITH_REASON:
            bisect.insort(self._reasons[result.outcome], (line, result.reason))
            del self._reasons[result.outcome][SHOWN_LINES:]
        self._input_tokens += result.usage.input_tokens
        self._output_tokens += result.usage.output_tokens
        self._cost_usd += result.usage.cost_usd
        self._on_line()

    def ended_early(self, why: str) -> None:
        """The rest of the lines is left; the first reason given is told."""
        self._end = self._end or why

    @property
    def count(self) -> int:
        return self._counts.total()

    @property
    def is_complete(self) -> bool:
        """Whether every line was taken and none failed."""
        return not self._end and not self._counts[Outcome.FAILED]

    def text(self, *, lines: int, seconds: float) -> str:
        """The report on a run over a file of so many lines."""
        return "\n".join(self._paragraphs(lines, seconds))

    def _paragraphs(self, lines: int, seconds: float) -> Iterator[str]:
        rate = f", {self.count / seconds:,.1f} a second" if seconds else ""
        yield f"{self.count:,} of {lines:,} lines in {seconds:,.1f} s{rate}"
        if self.count:
            kinds = [(f"{self._counts[outcome]:,}", outcome) for outcome in Outcome if self._counts[outcome]]
            yield aligned([(f"  {outcome}", count) for count, outcome in kinds], words=1)
        yield f"used: {self._input_tokens:,} tokens in, {self._output_tokens:,} out, ${self._cost_usd:,.6f}"
        for outcome in _WITH_REASON:
            yield from self._told(outcome)
        if self._counts[Outcome.NOT_CACHEABLE]:
            yield ASKED_AGAIN
        if self._end:
            yield f"Ended early. {self._end}"
        if not self.is_complete:
            yield "The same command goes on with what failed and what was left."

    def _told(self, outcome: Outcome) -> Iterator[str]:
        if reasons := self._reasons[outcome]:
            yield f"{outcome}:"
            yield from (f"  line {line}: {reason}" for line, reason in reasons)
        if (more := self._counts[outcome] - len(reasons)) > 0:
            yield f"  and {more:,} more"
