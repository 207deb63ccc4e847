"""From the cache's protocol to its nouns, and back."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from meshkit.cache_control import canonical_key, check_tag, check_tags, check_ttl_seconds
from meshkit.errors import Reason, ShoalError, field_invalid, field_required
from meshkit.identity import Authentication, Identity
from services.cache.answers import Hit, Inspection, Lead, Shown, Terms
from services.cache.counts import LevelCounts, PolicyCounts, total
from services.cache.entry import Entry, Worth
from services.cache.generations.scopes import key_scope, tag_scope, tenant_scope
from services.cache.levels.level import Holdings
from services.cache.place import Place, Whole
from services.cache.policies import LevelName, PolicyName
from services.cache.statistics import Statistics
from shoal.cache.v1 import cache_pb2 as pb

LONGEST_TENANT = 200
"""Characters, more than any has (64): what a database refuses would fail all that share its transaction."""
MOST_WORTH = 1_000_000_000
"""Tokens or dollars."""

_POLICIES: Mapping[pb.Policy.ValueType, PolicyName] = MappingProxyType(
    {pb.Policy.Value(f"POLICY_{name.upper()}"): name for name in PolicyName}
)
_VALUES = MappingProxyType({name: value for value, name in _POLICIES.items()})


def tenant(identity: Identity, named: str) -> str:
    """Whose answers are meant. Only the operator may name another tenant than its own, and must.

    Raises ShoalError PERMISSION_DENIED, FIELD_REQUIRED or FIELD_INVALID.
    """
    if identity.authentication is Authentication.OPERATOR:
        if not named:
            raise field_required("tenant")
        if len(named) > LONGEST_TENANT or not named.isprintable():
            raise field_invalid("tenant", f"have up to {LONGEST_TENANT} printable characters")
        return named
    if named and named != identity.tenant:
        raise ShoalError(
            Reason.PERMISSION_DENIED, "Only the operator may name another tenant; leave it empty.", field="tenant"
        )
    return identity.tenant


def place(tenant: str, policy: pb.Policy.ValueType, key: str) -> Place:
    """Raises ShoalError FIELD_INVALID for a key or policy that is none."""
    name = _POLICIES.get(policy)
    if name is None:
        raise field_invalid("policy", "be a policy of this cache, such as POLICY_RESPONSE")
    return Place(tenant, name, canonical_key("key", key))


def whole(request: pb.OpenRequest) -> Whole:
    """What is looked up for. Raises ShoalError FIELD_INVALID for a key or tags that cannot be."""
    return Whole(
        key=canonical_key("part_of", request.part_of) if request.part_of else "",
        tags=_tags(request.tags) if request.tags else (),
        generation=request.generation,
    )


def terms(begin: pb.PublishBegin) -> Terms:
    """Raises ShoalError FIELD_INVALID for tags or a time to live that cannot be."""
    return Terms(
        generation=begin.generation,
        tags=_tags(begin.tags),
        ttl_seconds=_ttl_seconds(begin.ttl_seconds) if begin.HasField("ttl_seconds") else None,
    )


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Each once, in the order in which they came."""
    check_tags("tags", tags)
    return tuple(dict.fromkeys(tags))


def _ttl_seconds(seconds: int) -> float:
    check_ttl_seconds("ttl_seconds", seconds)
    return float(seconds)


def worth(message: pb.Worth) -> Worth:
    """Raises ShoalError FIELD_INVALID for what no answer takes; sums over all hits have to stay numbers."""
    for field in ("input_tokens", "output_tokens", "cost_usd"):
        if not 0 <= getattr(message, field) <= MOST_WORTH:
            raise field_invalid(f"worth.{field}", f"be 0 to {MOST_WORTH}")
    return Worth(message.input_tokens, message.output_tokens, message.cost_usd)


def scope(tenant: str, request: pb.InvalidateRequest) -> str:
    """What shall not be found any more. Raises ShoalError unless exactly one thing is named."""
    match request.WhichOneof("what"):
        case "key":
            return key_scope(tenant, canonical_key("key", request.key))
        case "tag":
            check_tag("tag", request.tag)
            return tag_scope(tenant, request.tag)
        case "everything" if request.everything:
            return tenant_scope(tenant)
        case "everything":
            raise field_invalid("everything", "be true, or else name a key or a tag")
        case _:
            raise field_required("what")


def open_response(opened: Hit | Lead, now: float) -> pb.OpenResponse:
    if isinstance(opened, Lead):
        return pb.OpenResponse(lead=_lead(opened))
    entry = opened.entry
    response = pb.OpenResponse()
    # Filled in place: a message that is given to another is copied with all its events. They are packed as those of
    # this message.
    hit = response.hit
    hit.MergeFromString(entry.events.packed)
    hit.level = opened.level
    hit.age_seconds = entry.age_seconds(now)
    hit.ttl_seconds = entry.ttl_seconds
    hit.stale_seconds = entry.stale_seconds
    if opened.renewal:
        hit.renewal.CopyFrom(_lead(opened.renewal))
    return response


def _lead(lead: Lead) -> pb.Lead:
    return pb.Lead(generation=lead.generation, anew=lead.anew)


def publish_response(kept: Entry | None, size_bytes: int) -> pb.PublishResponse:
    if kept is None:
        return pb.PublishResponse(size_bytes=size_bytes)
    return pb.PublishResponse(
        stored=True, size_bytes=size_bytes, ttl_seconds=kept.ttl_seconds, stale_seconds=kept.stale_seconds
    )


def get_response(inspection: Inspection, now: float) -> pb.GetResponse:
    return pb.GetResponse(
        entries=[_stored_entry(shown, now) for shown in inspection.shown], failed_levels=inspection.failed
    )


def _stored_entry(shown: Shown, now: float) -> pb.StoredEntry:
    entry = shown.entry
    return pb.StoredEntry(
        level=shown.level,
        events=entry.events,
        size_bytes=entry.size_bytes,
        age_seconds=entry.age_seconds(now),
        ttl_seconds=entry.ttl_seconds,
        stale_seconds=entry.stale_seconds,
        tags=entry.tags,
        generation=entry.generation,
        invalidated=shown.is_invalidated,
        worth=_worth(entry.worth),
    )


def _worth(worth: Worth) -> pb.Worth:
    return pb.Worth(input_tokens=worth.input_tokens, output_tokens=worth.output_tokens, cost_usd=worth.cost_usd)


def stats_response(statistics: Statistics, *, replica: str) -> pb.StatsResponse:
    counts, ttls = statistics.counts, statistics.ttls
    return pb.StatsResponse(
        levels=[_level_stats(level, total(counts, level), held) for level, held in statistics.holdings().items()],
        policies=[_policy_stats(name, counts[name], ttls[name].seconds) for name in counts],
        replica=replica,
    )


def _policy_stats(name: PolicyName, of: PolicyCounts, ttl_seconds: float) -> pb.PolicyStats:
    return pb.PolicyStats(
        policy=_VALUES[name],
        hits=of.hits,
        stale_hits=of.stale_hits,
        misses=of.misses,
        levels=[_level_stats(level, each, None) for level, each in of.levels.items()],
        too_large=of.too_large,
        invalidated=of.invalidated,
        saved=_worth(of.saved),
        ttl_seconds=ttl_seconds,
    )


def _level_stats(level: LevelName, counts: LevelCounts, held: Holdings | None) -> pb.LevelStats:
    held = held or Holdings()
    return pb.LevelStats(
        level=level,
        hits=counts.hits,
        misses=counts.misses,
        failures=counts.failures,
        stores=counts.stores,
        evictions=held.evictions,
        entries=held.entries,
        size_bytes=held.size_bytes,
        corrupt=counts.corrupt,
    )
