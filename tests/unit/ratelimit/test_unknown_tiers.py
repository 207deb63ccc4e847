"""Tiers that keys have and the settings do not."""

from structlog.testing import capture_logs

from services.ratelimit import keys
from services.ratelimit.keys import ApiKey
from services.ratelimit.tiers import parse_tiers
from services.ratelimit.unknown_tiers import UnknownTiers


def key(tier: str) -> ApiKey:
    return keys.describe(keys.new_secret(b"k" * 32), tenant="acme", tier=tier, name="", now=0)


def test_the_log_tells_each_once() -> None:
    tiers = UnknownTiers(parse_tiers("anonymous=1/10,free=1/10"))
    with capture_logs() as lines:
        tiers.learned([key("silver"), key("free"), key("gold"), key("gold")])
        tiers.learned([key("gold"), key("free")])
        tiers.learned([key("bronze"), key("gold")])
    assert [line["tiers"] for line in lines] == [["gold", "silver"], ["bronze"]]
    assert {line["log_level"] for line in lines} == {"warning"}
