"""The setting that says how calls are spread: what it can be, and what is said of everything else."""

import pytest

from envoyconf.load_balancing import ALLOWED, HashKey, LoadBalancing, Strategy


@pytest.mark.parametrize(
    ("text", "strategy", "key", "weights"),
    [
        ("least_request", Strategy.LEAST_REQUEST, None, ()),
        ("round_robin", Strategy.ROUND_ROBIN, None, ()),
        ("ring_hash:session", Strategy.RING_HASH, HashKey.SESSION, ()),
        ("maglev:address", Strategy.MAGLEV, HashKey.ADDRESS, ()),
        ("weights:3:1:1000", Strategy.WEIGHTS, None, (3, 1, 1000)),
    ],
)
def test_each_way_is_read(text: str, strategy: Strategy, key: HashKey | None, weights: tuple[int, ...]) -> None:
    assert LoadBalancing.parse(text) == LoadBalancing(strategy=strategy, key=key, weights=weights)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "random",
            "least_request:",
            "round_robin:session",
            "ring_hash",
            "ring_hash:user",
            "maglev:session:address",
        ),
        *("weights", "weights:", "weights:0", "weights:1001", "weights:1:-1", "weights:1.5", "weights:²"),
    ],
)
def test_anything_else_is_refused_with_all_that_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="no way to spread calls") as caught:
        LoadBalancing.parse(text)
    assert ALLOWED in str(caught.value)
