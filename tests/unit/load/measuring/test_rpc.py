"""RPCs found by the name of their stubs."""

import pytest

from load.cache.caller import OPEN
from load.limits import questions
from load.measuring.rpc import Rpc


@pytest.mark.parametrize("rpc", [OPEN, questions.RPC])
def test_the_proto_of_an_rpc_is_there_and_declares_it(rpc: Rpc) -> None:
    assert f"rpc {rpc.name}(" in rpc.proto.read_text()


def test_the_path_of_an_rpc_has_the_package_of_its_service() -> None:
    assert OPEN.path == "/shoal.cache.v1.CacheService/Open"
    assert questions.RPC.path == "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


def test_there_is_no_rpc_that_the_service_lacks() -> None:
    with pytest.raises(KeyError):
        _ = Rpc(OPEN.stubs, OPEN.service, "Close").descriptor
