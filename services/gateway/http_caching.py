"""What caches between Shoal and the caller may keep (RFC 9111), and whether the caller has it already (RFC 9110)."""

import base64
import hashlib
import re
from collections.abc import Iterable

import msgspec

from services.gateway import translate
from shoal.agent.v1 import agent_pb2 as pb

NO_STORE = "no-store"
VARY = "X-API-Key, Authorization"
"""Who asks decides what is answered. The request's Cache-Control does not: it says how fresh, not what. Envoy adds
Accept-Encoding, since it compresses."""

_ENTITY_TAG = re.compile(r'"([\x21\x23-\x7e\x80-\xff]*)"')


def headers(turn: pb.ExecuteRequest, response: pb.ExecuteResponse) -> dict[str, str]:
    """The headers of an answer to a GET. What Shoal does not keep itself, and turns of a session, nobody may keep.

    For a user, whose preferences may change at any time, the answer is to be asked for again each time.
    """
    kept = response.cache
    if turn.session_id or not kept.ttl_seconds:
        return {"cache-control": NO_STORE}
    return {
        "etag": etag(response),
        "cache-control": "private, no-cache" if turn.user_id else _freshness(kept),
        "age": str(int(kept.age_seconds)),
        "vary": VARY,
    }


def etag(response: pb.ExecuteResponse) -> str:
    """A weak validator of what the answer says: the same whichever replica gives it, and however old it is."""
    said = (
        response.output,
        translate.finish_reason(response.finish_reason),
        response.model,
        [translate.tool_call(call) for call in response.tool_calls],
        (response.usage.input_tokens, response.usage.output_tokens, response.usage.cost_usd),
    )
    digest = hashlib.sha256(msgspec.json.encode(said)).digest()[:18]
    return f'W/"{base64.urlsafe_b64encode(digest).decode()}"'


def is_held(held: Iterable[str], current: str) -> bool:
    """Whether the lines of If-None-Match name the entity tag, by weak comparison (RFC 9110, 13.1.2)."""
    ours = _ENTITY_TAG.findall(current)
    return any(line.strip() == "*" or not set(ours).isdisjoint(_ENTITY_TAG.findall(line)) for line in held)


def _freshness(kept: pb.CacheReport) -> str:
    directives = ["public" if kept.public else "private", f"max-age={int(kept.ttl_seconds)}"]
    if kept.stale_seconds:
        directives.append(f"stale-while-revalidate={int(kept.stale_seconds)}")
    return ", ".join(directives)
