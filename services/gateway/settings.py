"""The gateway's settings."""

from typing import Annotated

import msgspec

from meshkit.settings import ServiceSettings


class GatewaySettings(ServiceSettings, frozen=True, kw_only=True):
    """What a gateway is told."""

    request_max_bytes: Annotated[
        int, msgspec.Meta(ge=1024, le=4 * 1024 * 1024, description="Largest body of a REST request that is read.")
    ] = 2 * 1024 * 1024
    request_timeout_seconds: Annotated[
        float, msgspec.Meta(gt=0, le=900, description="How long a REST request may take, streams included.")
    ] = 900.0
