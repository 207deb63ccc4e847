"""Plans: what a call will see, from the options and the prompt's directives."""

from dataclasses import replace
from random import Random

import pytest

from load.simulated_model.answer import ToolCall
from load.simulated_model.distributions import Fixed, Uniform
from load.simulated_model.faults import Cut, FaultRates, Hang, Refuse
from load.simulated_model.plan import Profile, plan_call
from load.simulated_model.request import ChatRequest, Message

PROFILE = Profile(first_token=Fixed(0.5), tokens_per_second=Fixed(20), output_tokens=4, fault_rates=FaultRates())


def _seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 # it plans latencies, not secrets


def _request(*messages: Message, max_tokens: int | None = None) -> ChatRequest:
    return ChatRequest(model="m", messages=list(messages), max_tokens=max_tokens)


def _ask(prompt: str) -> ChatRequest:
    return _request(Message("system", "be brief"), Message("user", prompt))


def test_the_profile_decides_where_the_prompt_orders_nothing() -> None:
    plan = plan_call(_ask("one two"), PROFILE, _seeded(1))
    assert plan.answer.text == "one two one two"
    assert (plan.first_token, plan.interval, plan.fault) == (0.5, 0.05, None)


def test_directives_overrule_the_profile_and_are_not_in_the_answer() -> None:
    prompt = "[[first_token=0]] [[tokens_per_second=4]] [[tokens=2]] one two three"
    plan = plan_call(_ask(prompt), PROFILE, _seeded(1))
    assert plan.answer.text == "one two"
    assert (plan.first_token, plan.interval) == (0.0, 0.25)


def test_without_a_pace_all_tokens_come_at_once() -> None:
    assert plan_call(_ask("one"), replace(PROFILE, tokens_per_second=None), _seeded(1)).interval == 0


def test_a_pace_of_nothing_is_held_to_the_slowest_one() -> None:
    assert plan_call(_ask("one"), replace(PROFILE, tokens_per_second=Fixed(0)), _seeded(1)).interval == 10


def test_the_token_limit_of_the_request_cuts_the_answer_off() -> None:
    plan = plan_call(_request(Message("user", "one two"), max_tokens=3), PROFILE, _seeded(1))
    assert (plan.answer.text, plan.answer.finish_reason) == ("one two one", "length")


def test_a_tool_is_called_once_and_then_its_results_are_answered() -> None:
    question = Message("user", '[[tool=add {"a":1}]] sum')
    called = plan_call(_request(question), PROFILE, _seeded(1))
    assert called.answer.tool_calls == (ToolCall("add", '{"a":1}'),)
    results = [Message("assistant"), Message("tool", "three"), Message("tool", "[[hang]]")]
    answered = plan_call(_request(question, *results), PROFILE, _seeded(1))
    assert answered.answer.text == "three [[hang]] three [[hang]]"
    assert answered.fault is None


@pytest.mark.parametrize(
    ("rates", "kind"),
    [(FaultRates(refuse=1, status=503), Refuse), (FaultRates(hang=1), Hang), (FaultRates(cut=1), Cut)],
)
def test_a_rate_of_one_strikes_every_call(rates: FaultRates, kind: type) -> None:
    faults = {plan_call(_ask("one"), replace(PROFILE, fault_rates=rates), _seeded(seed)).fault for seed in range(50)}
    assert {type(fault) for fault in faults} == {kind}


def test_faults_strike_as_often_as_their_rates_say() -> None:
    random, rates = _seeded(3), FaultRates(refuse=0.2, hang=0.1, cut=0.3, status=429)
    kinds = [type(rates.draw(random, tokens=4)) for _ in range(10_000)]
    shares = [kinds.count(kind) / len(kinds) for kind in (Refuse, Hang, Cut)]
    assert shares == pytest.approx([0.2, 0.1, 0.3], abs=0.02)


def test_a_drawn_cut_comes_before_the_last_token_and_anywhere_before_it() -> None:
    random = _seeded(3)
    assert {FaultRates(cut=1).draw(random, tokens=3) for _ in range(100)} == {Cut(0), Cut(1), Cut(2)}
    assert FaultRates(cut=1).draw(random, tokens=0) == Cut(0)


@pytest.mark.parametrize(("refuse", "hang"), [(0.6, 0.5), (float("nan"), 0.0)])
def test_rates_that_do_not_add_up_are_refused(refuse: float, hang: float) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        FaultRates(refuse=refuse, hang=hang)


def test_the_same_seed_plans_the_same_calls() -> None:
    profile = replace(PROFILE, first_token=Uniform(0, 1), fault_rates=FaultRates(refuse=0.5))
    one, other = _seeded(9), _seeded(9)
    assert [plan_call(_ask("x"), profile, one) for _ in range(20)] == [
        plan_call(_ask("x"), profile, other) for _ in range(20)
    ]
