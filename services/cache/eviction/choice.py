"""The policies of eviction that a setting offers."""

from enum import StrEnum

from services.cache.eviction.eviction import Eviction
from services.cache.eviction.recency_frequency import RecencyFrequency
from services.cache.eviction.s3_fifo import S3Fifo


class EvictionName(StrEnum):
    """The policies, as settings name them."""

    RECENCY_FREQUENCY = "recency_frequency"
    S3_FIFO = "s3_fifo"


def eviction_named(name: EvictionName) -> Eviction:
    """A new one that holds nothing."""
    match name:
        case EvictionName.RECENCY_FREQUENCY:
            return RecencyFrequency()
        case EvictionName.S3_FIFO:
            return S3Fifo()
