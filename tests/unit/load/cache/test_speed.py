"""The speed of look-ups is told only if they found what their rows say."""

import pytest

from load.cache.speed import check_found
from load.measuring.generator import MeasurementError


def test_answers_that_were_all_found_are_a_measurement() -> None:
    check_found(24_000, asked=24_000)


@pytest.mark.parametrize("found", [0, 23_999, 24_001])
def test_answers_that_were_found_elsewhere_are_none(found: int) -> None:
    with pytest.raises(MeasurementError, match=f"of 24000 answers {found} were found"):
        check_found(found, asked=24_000)
