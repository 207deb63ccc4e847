"""What the limiter's answers say in its own protocol."""

from services.ratelimit import translate
from services.ratelimit.buckets.bucket import Holding, Limit
from services.ratelimit.limits import CallerLimits, RateLimit
from services.ratelimit.reservations.reservation import Answer, Outcome

REQUESTS, TOKENS = RateLimit("free", Limit(1, 10)), RateLimit("acme", Limit(2, 100))


def test_a_bucket_of_model_tokens_bears_the_name_of_its_own_limit() -> None:
    answer = Answer(Outcome.DONE, Holding(TOKENS.limit, remaining=7, full_in_micros=46_500_000, wait_micros=0))
    bucket = translate.model_tokens(CallerLimits(REQUESTS, TOKENS), answer)
    assert bucket
    assert (bucket.tier, bucket.capacity, bucket.remaining) == ("acme", 100, 7)
    assert translate.model_tokens(CallerLimits(REQUESTS), Answer(Outcome.DONE)) is None
