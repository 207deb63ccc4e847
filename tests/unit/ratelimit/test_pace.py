"""The pace of batches."""

from services.ratelimit.buckets.pace import LONGEST_PAUSE_SECONDS, PACE_SECONDS, pause_after


def test_each_item_of_a_batch_holds_back_the_next_one_up_to_a_bound() -> None:
    assert [pause_after(size) for size in (1, 3, 100)] == [PACE_SECONDS, 3 * PACE_SECONDS, LONGEST_PAUSE_SECONDS]
