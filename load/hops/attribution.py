"""Where the time of one request went, by its spans."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from load.hops.spans import CLIENT, ENVOY, Span

CLIENT_HOP = "client, to Envoy and back"
FRONT_HOP = "Envoy, front door"
INNER_HOP = "Envoy, inner listener"
WAY = "way to {} and back"
NAMES: Mapping[str, str] = {"ratelimit": "limiter", "ratelimit-rls": "limiter"}
"""Of services and of Envoy's clusters, where readers know another."""
_FRONT_SPAN = "ingress"
_LIMITER_SPAN = "async "
_ROUTER_SPAN = "router "

_HOPS: Sequence[str] = (
    CLIENT_HOP, FRONT_HOP, WAY.format("limiter"), "limiter", WAY.format("gateway"), "gateway", INNER_HOP,
    WAY.format("agent"), "agent", WAY.format("cache"), "cache", "model",
)  # fmt: skip
"""In the order in which a request comes to them."""

Children = Mapping[str, Sequence[Span]]


def nanoseconds(request: Span, spans: Iterable[Span]) -> dict[str, int]:
    """How the time of the request is shared by the hops: each moment belongs to the innermost call that ran in it, and
    to the one that began first where several did. The sum is the time of the request.

    What runs before it or after it, such as what is done when the client has its answer, takes none of its time.
    """
    shares = Counter[str]()
    _share(request, request.begin, request.end, children_of(spans), shares)
    return dict(shares)


def in_order(hops: Iterable[str]) -> list[str]:
    """Each once, in the order in which a request comes to them; at the end those of which we do not know that."""
    return sorted(set(hops), key=lambda hop: (_HOPS.index(hop) if hop in _HOPS else len(_HOPS), hop))


def children_of(spans: Iterable[Span]) -> Children:
    """By the id of their parent."""
    children = defaultdict(list)
    for span in spans:
        children[span.parent_id].append(span)
    return children


def _share(span: Span, begin: int, end: int, children: Children, shares: Counter[str]) -> None:
    """Adds what lies between these times, which are within the span, to the shares."""
    own, at = hop(span), begin
    for child in sorted(children.get(span.id, ()), key=lambda child: child.begin):
        first, last = max(child.begin, at), min(child.end, end)
        if first < last:
            shares[own] += first - at
            _share(child, first, last, children, shares)
            at = last
    shares[own] += end - at


def hop(span: Span) -> str:
    """What the time in which nobody else was called by it is spent on."""
    if span.service == CLIENT:
        return CLIENT_HOP
    if span.service != ENVOY:
        return NAMES.get(span.service, span.service)
    if span.name.startswith(_LIMITER_SPAN):
        return WAY.format("limiter")
    if span.name.startswith(_ROUTER_SPAN):
        cluster = span.name.split()[1]
        return WAY.format(NAMES.get(cluster, cluster))
    return FRONT_HOP if span.name == _FRONT_SPAN else INNER_HOP


def is_complete(request: Span, spans: Sequence[Span]) -> bool:
    """Whether all have come: each span's parent, and for each call of Envoy's what was called."""
    ids = {request.id, *(span.id for span in spans)}
    callers = {span.parent_id for span in spans}
    calls = [request, *(span for span in spans if span.is_call)]
    return all(span.parent_id in ids for span in spans) and all(call.id in callers for call in calls)
