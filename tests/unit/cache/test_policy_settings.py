"""Policies by configuration."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache.policies import DEFAULT_POLICIES, LevelName, Policy, PolicyName
from services.cache.policy_settings import PolicySettingsError, policies_with

RESPONSE = DEFAULT_POLICIES[PolicyName.RESPONSE]


def response_with(overrides: str) -> Policy:
    return policies_with(overrides, defaults=DEFAULT_POLICIES)[PolicyName.RESPONSE]


def faults_of(overrides: str) -> tuple[str, ...]:
    with pytest.raises(PolicySettingsError) as raised:
        policies_with(overrides, defaults=DEFAULT_POLICIES)
    return raised.value.faults


@pytest.mark.parametrize("nothing", ["", "  ", ",", " , ,"])
def test_without_overrides_the_defaults_hold(nothing: str) -> None:
    assert policies_with(nothing, defaults=DEFAULT_POLICIES) == DEFAULT_POLICIES


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("response.ttl=1800", replace(RESPONSE, ttl_seconds=1800)),
        ("response.ttl = 1.5", replace(RESPONSE, ttl_seconds=1.5)),
        ("response.stale=0", replace(RESPONSE, stale_seconds=0)),
        ("response.max_bytes=1000000", replace(RESPONSE, max_bytes=1_000_000)),
        ("response.compress=no", replace(RESPONSE, compress=False)),
        ("response.compress=yes", RESPONSE),
        ("response.keeps_last=all", RESPONSE),
        ("response.levels=l3", replace(RESPONSE, levels=(LevelName.L3,))),
        (" response . levels = l3 + l1 + l2 ", replace(RESPONSE, levels=tuple(LevelName))),
        (
            "response.ttl_min=600,response.ttl_max=7200",
            replace(RESPONSE, ttl_min_seconds=600, ttl_max_seconds=7200),
        ),
    ],
)
def test_every_field_can_be_set(override: str, expected: Policy) -> None:
    assert response_with(override) == expected


def test_an_override_changes_nothing_else() -> None:
    overrides = "tool_result.ttl=1, model_output.compress=no, conversation_context.keeps_last=20"
    changed = policies_with(overrides, defaults=DEFAULT_POLICIES)
    assert changed[PolicyName.CONVERSATION_CONTEXT].keeps_last == 20
    assert changed[PolicyName.TOOL_RESULT].ttl_seconds == 1
    assert not changed[PolicyName.MODEL_OUTPUT].compress
    assert changed[PolicyName.RESPONSE] == RESPONSE


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("response", "policy.field=value"),
        ("ttl=5", "policy.field=value"),
        ("response.ttl", "policy.field=value"),
        ("answers.ttl=5", "response, model_output, conversation_context, tool_result"),
        ("response.tll=5", "ttl, ttl_min, ttl_max, stale, levels, max_bytes, compress, keeps_last"),
        ("response.ttl=", "1 to 31536000 seconds"),
        ("response.ttl=0", "1 to 31536000 seconds"),
        ("response.ttl=1h", "1 to 31536000 seconds"),
        ("response.ttl=nan", "1 to 31536000 seconds"),
        ("response.ttl=inf", "1 to 31536000 seconds"),
        ("response.stale=-1", "0 to 31536000 seconds"),
        ("response.max_bytes=0", "1 to 50331648 bytes"),
        ("response.max_bytes=1.5", "1 to 50331648 bytes"),
        ("response.max_bytes=50331649", "1 to 50331648 bytes"),
        ("response.compress=maybe", "yes or no"),
        ("response.keeps_last=0", "1 to 10000 events, or all"),
        ("response.levels=", "l1, l2 and l3"),
        ("response.levels=l1+l4", "l1, l2 and l3"),
        ("response.levels=l1+l1", "l1, l2 and l3"),
        ("response.levels=l1 l2", "l1, l2 and l3"),
        ("response.ttl=5, response.ttl=6", "once"),
        ("response.ttl_min=5", "ttl_min and ttl_max"),
        ("response.ttl_max=5000", "ttl_min and ttl_max"),
        (
            "response.ttl_min=4000, response.ttl_max=5000",
            "response: ttl (3600) must lie between ttl_min (4000) and ttl_max (5000)",
        ),
        ("response.ttl_min=5000, response.ttl_max=600", "response: ttl_min (5000) must not be above ttl_max (600)"),
        ("response.keeps_last=20", "response: keeps_last must be all"),
        ("model_output.keeps_last=1", "model_output: keeps_last must be all"),
        ("response.levels=l1,l2", "'l2' is no override; join levels by +, such as response.levels=l1+l2"),
    ],
)
def test_a_fault_says_what_is_allowed(override: str, allowed: str) -> None:
    (fault,) = faults_of(override)
    assert allowed in fault


def test_all_faults_are_told_at_once() -> None:
    faults = faults_of("response.ttl=no, tool_result.stale=never, response.levels=l1, model_output.size=5")
    assert [fault.split("'")[1] for fault in faults] == [
        "response.ttl=no",
        "tool_result.stale=never",
        "model_output.size=5",
    ]


@given(overrides=st.text(max_size=60) | st.text("response.ttl=,l1+20", max_size=40))
def test_whatever_is_written_is_read_or_refused(overrides: str) -> None:
    with suppress(PolicySettingsError):
        policies_with(overrides, defaults=DEFAULT_POLICIES)
