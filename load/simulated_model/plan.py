"""The plan of a call: what it will answer, how fast, and what will go wrong."""

from dataclasses import dataclass
from random import Random

from load.simulated_model.answer import Answer, call_tools, repeat_words
from load.simulated_model.directives import MIN_TOKENS_PER_SECOND, Directives, parse_directives
from load.simulated_model.distributions import Distribution
from load.simulated_model.faults import Fault, FaultRates
from load.simulated_model.request import ChatRequest


@dataclass(frozen=True, slots=True)
class Profile:
    """How the model behaves where the prompt orders nothing else."""

    first_token: Distribution
    """Seconds until the first token."""
    tokens_per_second: Distribution | None
    """Drawn once per call, at least 0.1; None sends all tokens at once."""
    output_tokens: int
    fault_rates: FaultRates


@dataclass(frozen=True, slots=True)
class Plan:
    answer: Answer
    fault: Fault | None
    first_token: float
    """Seconds until the first token."""
    interval: float
    """Seconds from one token to the next."""


def plan_call(request: ChatRequest, profile: Profile, random: Random) -> Plan:
    """Decide a call, directives before profile. Raises DirectiveError."""
    directives, prompt = parse_directives(request.prompt())
    answer = _answer(request, directives, prompt, profile.output_tokens)
    drawn = profile.fault_rates.draw(random, answer.token_count)
    first_token = profile.first_token.sample(random)
    interval = _interval(profile.tokens_per_second, random)
    return Plan(
        answer=answer,
        fault=directives.fault or drawn,
        first_token=first_token if directives.first_token is None else directives.first_token,
        interval=interval if directives.tokens_per_second is None else 1 / directives.tokens_per_second,
    )


def _answer(request: ChatRequest, directives: Directives, prompt: str, default_tokens: int) -> Answer:
    """Call the ordered tools once: when their results are there, answer with the words of the results."""
    results = request.tool_results()
    if directives.tool_calls and not results:
        return call_tools(directives.tool_calls)
    tokens = default_tokens if directives.tokens is None else directives.tokens
    return repeat_words(" ".join(results) or prompt, tokens, request.token_limit)


def _interval(tokens_per_second: Distribution | None, random: Random) -> float:
    if tokens_per_second is None:
        return 0.0
    return 1 / max(tokens_per_second.sample(random), MIN_TOKENS_PER_SECOND)
