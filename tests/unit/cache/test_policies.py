"""The table of policies holds the numbers that the mission fixes."""

from dataclasses import replace

import pytest

from services.cache.policies import DEFAULT_POLICIES, LevelName, PolicyName


def test_every_policy_has_a_row_under_its_own_name() -> None:
    assert [(name, policy.name) for name, policy in DEFAULT_POLICIES.items()] == [(name, name) for name in PolicyName]


def test_the_numbers_are_those_of_the_mission() -> None:
    l1, l2, l3 = LevelName
    numbers = {
        name.value: (policy.ttl_seconds, policy.levels, policy.keeps_last) for name, policy in DEFAULT_POLICIES.items()
    }
    assert numbers == {
        "response": (3600, (l1, l2), None),
        "model_output": (7200, (l2, l3), None),
        "conversation_context": (1800, (l1,), 10),
        "tool_result": (600, (l1, l2), None),
    }


@pytest.mark.parametrize(("stale", "renewal"), [(0, 5), (8, 5), (60, 15), (200, 50), (31_536_000, 60)])
def test_a_renewal_that_does_not_come_is_asked_of_another_long_before_the_stale_time_is_over(
    stale: float, renewal: float
) -> None:
    policy = replace(DEFAULT_POLICIES[PolicyName.RESPONSE], stale_seconds=stale)
    assert policy.renewal_seconds == renewal


def test_nothing_is_tuned_unless_it_is_configured() -> None:
    bounds = {(policy.ttl_min_seconds, policy.ttl_max_seconds) for policy in DEFAULT_POLICIES.values()}
    assert bounds == {(None, None)}
