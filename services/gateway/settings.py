"""The gateway's settings."""

from typing import Annotated

import msgspec

from meshkit import near_cache
from meshkit.settings import ServiceSettings


class GatewaySettings(ServiceSettings, frozen=True, kw_only=True):
    """What a gateway is told."""

    request_max_bytes: Annotated[
        int, msgspec.Meta(ge=1024, le=4 * 1024 * 1024, description="Largest body of a REST request that is read.")
    ] = 2 * 1024 * 1024
    request_timeout_seconds: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=86_400,
            description="How long a REST request may take, streams included, if less than SHOAL_STREAM_MAX_SECONDS. "
            "0: as long as that.",
        ),
    ] = 0.0
    near_cache_seconds: near_cache.Seconds = near_cache.DEFAULT_SECONDS

    @property
    def longest_seconds(self) -> float:
        """How long a REST request may take."""
        return min(self.request_timeout_seconds or self.stream_max_seconds, self.stream_max_seconds)
