"""The call that is being served: who asks, under which request id, until when. Set once at the entry of a process."""

import math
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from meshkit import deadline, tracing
from meshkit.identity import HEADER as IDENTITY_HEADER
from meshkit.identity import Identity

REQUEST_ID_HEADER = "x-request-id"
REPLICA_HEADER = "x-shoal-replica"
"""On every answer: the process that served it."""
CACHE_HEADER = "x-shoal-cache"
"""On every turn's answer: how the cache was used."""
CACHE_KEY_HEADER = "x-shoal-cache-key"
"""On every turn's answer, unless the cache was bypassed: its key. On calls to the cache about one answer, too: Envoy
sends them all to the same cache process."""
SESSION_HEADER = "x-session-id"
ADDRESS_HEADER = "x-shoal-client-address"
"""By these two Envoy may choose the replica: what belongs together goes to the same one."""

_REQUEST_ID = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `deadline` is on the clock of time.monotonic, in seconds.

    `session_id` and `client_address` are what is known of where the call belongs; empty if nothing is.
    """

    request_id: str
    identity: Identity
    signed_identity: str
    deadline: float
    session_id: str = ""
    client_address: str = ""


_current: ContextVar[Call] = ContextVar("call")
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def current() -> Call:
    """The call that this task serves. Raises LookupError outside of one."""
    return _current.get()


def begin(call: Call) -> None:
    """Makes `call` the current one for the rest of this task."""
    _current.set(call)


@contextmanager
def serving(call: Call) -> Iterator[None]:
    """Makes `call` the current one."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def beside(*, seconds: float) -> Iterator[None]:
    """A call in the name of the current one that may outlive it: it has so long from now on."""
    with serving(replace(current(), deadline=time.monotonic() + seconds)):
        yield


def identify(request_id: str) -> None:
    """Puts the request id on every log line of this task, also before it is known whether there is a call to serve."""
    _request_id.set(request_id)


def logged_request_id() -> str:
    """What goes on log lines here; empty outside of a call."""
    return _request_id.get()


def request_id(given: str | None) -> str:
    """The request id that the caller gave, or a new one if that could not travel on as metadata."""
    return given if given and _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def onward_metadata(*, session_id: str = "") -> tuple[tuple[str, str], ...]:
    """The metadata for a call to the next hop on behalf of the current one; `session_id` if it is about that session,
    whatever the current one said."""
    call = current()
    belongs_to = ((SESSION_HEADER, session_id or call.session_id), (ADDRESS_HEADER, call.client_address))
    return (
        (IDENTITY_HEADER, call.signed_identity),
        (REQUEST_ID_HEADER, call.request_id),
        *((header, value) for header, value in belongs_to if value),
        *tracing.current_headers(),
    )


def onward_timeout(*, longest_seconds: float = math.inf) -> float:
    """The timeout in seconds for a call to the next hop. Raises ShoalError DEADLINE_EXCEEDED if none is left."""
    return deadline.onward(current().deadline, time.monotonic(), longest_seconds=longest_seconds)
