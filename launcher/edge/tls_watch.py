"""The watch over the operator's certificate: one that is replaced, and good, is published while the mesh runs.

What the files say is compared, not when they changed: whether they are renamed, are links that turn elsewhere, or are
written in place, that never deceives.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from launcher.edge.pem import pem_in
from meshkit.certificates import check_pair

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain and its key, in PEM."""

    cert_pem: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why what is in the files cannot be used."""

    words: str


@dataclass(slots=True)
class Watch:
    """Decides what becomes of what is seen at each look."""

    good: Pair | None = None
    """The last pair that was published."""
    _seen: Pair | Fault | None = None
    _told: Fault | None = None

    def news(self, seen: Pair | Fault) -> Pair | Fault | None:
        """What is seen, if it is news and was there at the last look too: two files are seldom replaced in one instant.

        The first pair is news as well.
        """
        stands_still, self._seen = seen == self._seen, seen
        if seen == self.good:
            self._told = None
        return seen if stands_still and seen not in (self.good, self._told) else None

    def conclude(self, outcome: Pair | Fault) -> Fault | None:
        """Remembers what became of the news: a pair that was published, or a fault. The fault, if it is to be told."""
        if isinstance(outcome, Pair):
            self.good, self._told = outcome, None
            return None
        before, self._told = self._told, outcome
        return outcome if outcome != before else None


async def watch_certificate(
    cert_file: str,
    key_file: str,
    *,
    publish: Callable[[str, str], None],
    complain: Callable[[str], None],
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Calls `publish` with certificate and key, in PEM, at first and whenever there are others that can be used; and
    `complain`, once, with a sentence about others that cannot. Looks until it is cancelled.

    A `publish` that raises OSError is complained about too, and tried again.
    """
    watch = Watch()
    while True:
        seen = await asyncio.to_thread(look, Path(cert_file), Path(key_file), good=watch.good)
        if news := watch.news(seen):
            outcome = _published(news, publish) if isinstance(news, Pair) else news
            if fault := watch.conclude(outcome):
                complain(f"{fault.words}; the certificate before it stays in use")
        await asyncio.sleep(poll_seconds)


def look(cert_file: Path, key_file: Path, *, good: Pair | None = None) -> Pair | Fault:
    """What is in the files now. The pair that is known to be good is not checked again."""
    try:
        pair = Pair(pem_in(cert_file), pem_in(key_file))
        if pair == good:
            return pair
        check_pair(str(cert_file), str(key_file))
        is_whole = pair == Pair(pem_in(cert_file), pem_in(key_file))
    except OSError as error:
        return Fault(f"{error.filename} cannot be read: {error.strerror}")
    except ValueError as error:
        return Fault(f"{cert_file} with {key_file} cannot be used: {error}")
    return pair if is_whole else Fault(f"{cert_file} or {key_file} is being written")


def _published(pair: Pair, publish: Callable[[str, str], None]) -> Pair | Fault:
    try:
        publish(pair.cert_pem, pair.key_pem)
    except OSError as error:
        return Fault(f"a new certificate cannot be handed on: {error.strerror}")
    return pair
