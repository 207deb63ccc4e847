"""The policy table holds the numbers that the mission fixes."""

from services.cache.level import LevelName
from services.cache.policies import Policy, PolicyName, policy_table

TABLE = policy_table(response_ttl_seconds=3600.0, entry_max_bytes=4096)


def test_every_policy_has_a_row() -> None:
    assert set(TABLE) == set(PolicyName)


def test_answers_are_kept_an_hour_in_memory_and_redis() -> None:
    assert TABLE[PolicyName.RESPONSE] == Policy(ttl_seconds=3600.0, levels=(LevelName.L1, LevelName.L2), max_bytes=4096)
