"""Mutual TLS between two of our own: who may connect, and that a certificate is no identity."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import grpc
import pytest

from load.measuring.ports import free_port
from meshkit import certificates as certificate_files
from meshkit import serve
from meshkit.call_guard import CallGuard
from meshkit.http1.channel import Http1Channel
from meshkit.http1.server import listening
from meshkit.http1.server_connection import Terms
from meshkit.mesh_tls import NAME, MeshTls
from meshkit.metrics import Metrics
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests import certificates
from tests.integration.meshkit.guarded_server import AGENT, TIMEOUT_SECONDS, Agent, Transport
from tests.mesh_identity import FORGER, SIGNER, Metadata, signed


@pytest.fixture
def tls(tmp_path: Path) -> MeshTls:
    return certificates.mesh_tls(tmp_path / "ours")


@pytest.fixture
async def address(tls: MeshTls, transport: Transport) -> AsyncIterator[str]:
    """Where a guarded server of the mesh, which speaks mutual TLS, takes calls over this transport."""
    ports = {each: free_port() for each in Transport}
    server = serve.new_server(
        CallGuard(
            signer=SIGNER, metrics=Metrics(), replica="test-1", longest_seconds=TIMEOUT_SECONDS, slow_client_seconds=30
        )
    )
    Agent().add_to(server)
    await serve.start(server, port=ports[Transport.GRPC], services=[AGENT], tls=tls)
    terms = Terms([server], is_serving=lambda: True)
    async with listening(terms, port=ports[Transport.HTTP1], tls=tls.server_context()):
        yield f"127.0.0.1:{ports[transport]}"
    await server.stop(None)


Says = Callable[[MeshTls | None, Metadata], Awaitable[str]]


@pytest.fixture
def hello(address: str, transport: Transport) -> Says:
    """What the server says to somebody with that certificate and that identity."""

    async def hello(tls: MeshTls | None, identity: Metadata) -> str:
        return await said(transport.open(address, tls), identity)

    return hello


async def said(channel: grpc.aio.Channel, identity: Metadata) -> str:
    async with channel:
        stub: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(channel)
        return (await stub.Execute(pb.ExecuteRequest(), metadata=identity, timeout=TIMEOUT_SECONDS)).output


def trusting(transport: Transport, address: str, tls: MeshTls) -> grpc.aio.Channel:
    """A channel of somebody who knows the authority and has no certificate."""
    if transport is Transport.HTTP1:
        trust = certificate_files.client_context(tls.ca_file)
        return cast("grpc.aio.Channel", Http1Channel(address, most_bytes=1000, tls=trust, name=NAME))
    credentials = grpc.ssl_channel_credentials(Path(tls.ca_file).read_bytes())
    return grpc.aio.secure_channel(address, credentials, options=[("grpc.ssl_target_name_override", NAME)])


async def refusal(answer: Awaitable[str]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answer
    return refused.value.code()


async def test_one_of_the_mesh_may_call(hello: Says, tls: MeshTls) -> None:
    assert await hello(tls, signed()) == "Hello"


async def test_one_of_the_mesh_still_needs_a_signed_identity(hello: Says, tls: MeshTls) -> None:
    assert await refusal(hello(tls, ())) is grpc.StatusCode.UNAUTHENTICATED
    assert await refusal(hello(tls, signed(signer=FORGER))) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_certificate_of_another_authority_does_not_connect(hello: Says, tls: MeshTls, tmp_path: Path) -> None:
    theirs = certificates.mesh_tls(tmp_path / "theirs")
    trusting = MeshTls(cert_file=theirs.cert_file, key_file=theirs.key_file, ca_file=tls.ca_file)
    assert await refusal(hello(trusting, signed())) is grpc.StatusCode.UNAVAILABLE


async def test_a_server_of_another_authority_is_not_called(hello: Says, tls: MeshTls, tmp_path: Path) -> None:
    theirs = certificates.mesh_tls(tmp_path / "theirs")
    doubting = MeshTls(cert_file=tls.cert_file, key_file=tls.key_file, ca_file=theirs.ca_file)
    assert await refusal(hello(doubting, signed())) is grpc.StatusCode.UNAVAILABLE


async def test_the_front_doors_certificate_is_none_for_callers(hello: Says, tls: MeshTls) -> None:
    front = certificates.shown(certificates.made(Path(tls.ca_file).parent), "front")
    assert await refusal(hello(front, signed())) is grpc.StatusCode.UNAVAILABLE


async def test_without_a_certificate_nobody_connects(
    hello: Says, transport: Transport, address: str, tls: MeshTls
) -> None:
    assert await refusal(hello(None, signed())) is grpc.StatusCode.UNAVAILABLE
    assert await refusal(said(trusting(transport, address, tls), signed())) is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_is_called_otherwise_is_not_called(tls: MeshTls, transport: Transport) -> None:
    """The front door's certificate is of the same authority, but not for `shoal-mesh`."""
    front = certificates.shown(certificates.made(Path(tls.ca_file).parent), "front")
    ports, server = {each: free_port() for each in Transport}, serve.new_server()
    await serve.start(server, port=ports[Transport.GRPC], services=[], tls=front)
    terms = Terms([server], is_serving=lambda: True)
    try:
        async with listening(terms, port=ports[Transport.HTTP1], tls=front.server_context()):
            channel = transport.open(f"127.0.0.1:{ports[transport]}", tls)
            assert await refusal(said(channel, signed())) is grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop(None)


async def test_a_busy_port_is_told_as_without_tls(address: str, tls: MeshTls) -> None:
    with pytest.raises(OSError, match="is busy"):
        await serve.start(serve.new_server(), port=int(address.rpartition(":")[2]), services=[], tls=tls)


async def test_tls_1_2_is_spoken(address: str, tls: MeshTls) -> None:
    assert await protocol(address, tls, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_what_is_older_is_not(address: str, tls: MeshTls) -> None:
    with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):  # the server hangs up
        await protocol(address, tls, ssl.TLSVersion.TLSv1_1)


async def protocol(address: str, tls: MeshTls, version: ssl.TLSVersion) -> str | None:
    """The version that is agreed on with a client that speaks only this one."""
    context = tls.client_context()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2", "http/1.1"])
    host, _, port = address.partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=NAME)
    agreed: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    return agreed.version()
