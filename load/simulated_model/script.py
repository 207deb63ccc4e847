"""The script of a call: the bytes that the server sends, when, and how it ends."""

from dataclasses import dataclass
from enum import Enum, auto

from load.simulated_model.completion import ChunkWriter, Head, count_usage, error_body, plain_completion
from load.simulated_model.faults import Cut, Fault, Garble, Hang, Refuse, Stall
from load.simulated_model.plan import Plan
from load.simulated_model.request import ChatRequest


class Ending(Enum):
    FINISH = auto()
    STALL = auto()
    """The connection stays open and nothing more comes."""
    CUT = auto()
    """The connection closes in the middle."""


@dataclass(frozen=True, slots=True)
class Script:
    """Event i is due at `first` + i * `interval` seconds. No header is sent before the first event."""

    events: tuple[bytes, ...]
    first: float = 0.0
    interval: float = 0.0
    ending: Ending = Ending.FINISH
    status: int = 200
    streamed: bool = False
    """Whether the events are server-sent events; else there is at most one, a JSON body."""
    retry_after: int | None = None
    """Seconds, for the header of that name."""


def write_script(request: ChatRequest, plan: Plan, head: Head) -> Script:
    """Turn a plan into what goes over the wire, streamed or plain as the request wants it."""
    match plan.fault:
        case Refuse(status):
            return refusal(status, f"simulated error {status}", plan.first_token)
        case Hang():
            return Script((), ending=Ending.STALL)
        case fault:
            return _stream(request, plan, head, fault) if request.stream else _plain(request, plan, head, fault)


def refusal(status: int, message: str, after: float = 0.0) -> Script:
    """An error, sent after so many seconds."""
    return Script((error_body(status, message),), first=after, status=status, retry_after=1 if status == 429 else None)


def _plain(request: ChatRequest, plan: Plan, head: Head, fault: Stall | Cut | Garble | None) -> Script:
    """A plain answer is due when the last token of a stream would be, or would have stopped to come."""
    tokens = plan.answer.token_count
    if isinstance(fault, Stall | Cut):
        tokens = min(tokens, fault.after)
    due = plan.first_token + plan.interval * max(tokens - 1, 0)
    if isinstance(fault, Stall | Cut):
        return Script((), due, ending=_ending(fault))
    body = plain_completion(head, plan.answer, count_usage(request.prompt_tokens(), plan.answer))
    return Script((_broken(body) if isinstance(fault, Garble) else body,), due)


def _stream(request: ChatRequest, plan: Plan, head: Head, fault: Stall | Cut | Garble | None) -> Script:
    """The opening comes with the first token and the closing with the last."""
    writer = ChunkWriter(head, request.include_usage)
    tokens = writer.tokens(plan.answer)
    closing = writer.closing(plan.answer, count_usage(request.prompt_tokens(), plan.answer))
    match fault:
        case Stall(after) | Cut(after):
            tokens, closing = tokens[:after], b""
        case Garble():
            tokens, closing = tokens[:1], _broken(closing) + b"\n\n"
    events = tokens or [b""]
    events[0] = writer.opening(plan.answer) + events[0]
    events[-1] += closing
    return Script(tuple(events), plan.first_token, plan.interval, _ending(fault), streamed=True)


def _ending(fault: Fault | None) -> Ending:
    match fault:
        case Stall():
            return Ending.STALL
        case Cut():
            return Ending.CUT
        case _:
            return Ending.FINISH


def _broken(body: bytes) -> bytes:
    """The beginning of a JSON text, so that no parser accepts it."""
    return body[:40]
