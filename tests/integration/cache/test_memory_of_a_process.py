"""The memory level keeps to the bytes it is told, by what its process really takes."""

import pytest

from services.cache.eviction.choice import EvictionName
from tests.integration.cache.level_growth import SHAPES, growth_of_a_new_process


@pytest.mark.parametrize("eviction", EvictionName)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_full_level_takes_the_memory_that_it_may_take(shape: str, eviction: EvictionName) -> None:
    measured = growth_of_a_new_process(shape, eviction)
    assert measured.lowest >= 0.9
    assert measured.highest <= 1.1
