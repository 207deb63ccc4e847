"""A limiter that speaks mutual TLS on both of its ports: that of the mesh, and that for Envoy."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from meshkit.channel import open_channel
from meshkit.mesh_tls import MeshTls
from shoal.external import rls_pb2_grpc
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse
from shoal.ratelimit.v1 import ratelimit_pb2 as pb
from shoal.ratelimit.v1 import ratelimit_pb2_grpc
from tests import certificates
from tests.integration.ratelimit.ratelimit_process import (
    OPERATOR,
    TIMEOUT_SECONDS,
    RatelimitProcess,
    caller,
    descriptor,
    environ,
    make_tables,
    started,
)
from tests.mesh_identity import metadata_of


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> MeshTls:
    return certificates.mesh_tls(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def limiter(valkey_url: str, tls: MeshTls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RatelimitProcess]:
    settings = environ(tmp_path_factory.mktemp("ratelimit"), redis_url=valkey_url) | certificates.variables(tls)
    make_tables(settings)
    with started(settings) as process:
        yield process


async def create_key(limiter: RatelimitProcess, tls: MeshTls | None) -> pb.CreateApiKeyResponse:
    async with open_channel(limiter.address, tls=tls) as channel:
        stub: ratelimit_pb2_grpc.RateLimitServiceAsyncStub = ratelimit_pb2_grpc.RateLimitServiceStub(channel)
        request = pb.CreateApiKeyRequest(tenant="acme", tier="free", name="made by a test")
        operator = metadata_of(caller(authentication=OPERATOR))
        return await stub.CreateApiKey(request, metadata=operator, timeout=TIMEOUT_SECONDS)


async def ask(limiter: RatelimitProcess, tls: MeshTls | None, address: str) -> RateLimitResponse:
    async with open_channel(limiter.envoy_address, tls=tls) as channel:
        stub: rls_pb2_grpc.RateLimitServiceAsyncStub = rls_pb2_grpc.RateLimitServiceStub(channel)
        asked = descriptor(masked_remote_address=address, surface="rest", request_id="r-1")
        return await stub.ShouldRateLimit(
            RateLimitRequest(domain="shoal", descriptors=[asked]), timeout=TIMEOUT_SECONDS
        )


async def test_both_ports_answer_the_mesh(limiter: RatelimitProcess, tls: MeshTls, address: str) -> None:
    assert (await create_key(limiter, tls)).secret
    assert (await ask(limiter, tls, address)).overall_code == RateLimitResponse.OK


async def test_neither_answers_others(limiter: RatelimitProcess, tls: MeshTls, address: str, tmp_path: Path) -> None:
    theirs = certificates.mesh_tls(tmp_path)
    stranger = MeshTls(cert_file=theirs.cert_file, key_file=theirs.key_file, ca_file=tls.ca_file)
    for shown in (stranger, None):
        for asked in (create_key(limiter, shown), ask(limiter, shown, address)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
