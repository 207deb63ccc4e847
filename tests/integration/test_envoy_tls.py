"""TLS in a real Envoy: at the front door, where certificates are exchanged under running streams, and inside."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
import pytest_asyncio

from envoyconf.tls import MESH_NAME
from envoyconf.topology import LOOPBACK, TlsFiles
from launcher.certs.folder import CertsFolder
from meshkit import mesh_tls
from tests import certificates
from tests.integration.front_door import (
    PATIENCE_SECONDS,
    FrontDoor,
    front_door,
    get,
    held_streams,
    inner_channel,
    on_free_ports,
    publish_front,
    publish_mesh,
    refused,
    replica_of,
)

EXECUTE = "/shoal.agent.v1.AgentService/Execute"


@pytest.fixture
def place(tmp_path: Path) -> CertsFolder:
    return certificates.made(tmp_path / "certs")


@pytest_asyncio.fixture
async def door(tmp_path: Path, place: CertsFolder) -> AsyncIterator[FrontDoor]:
    """The front door with TLS."""
    files = TlsFiles(cert_file=str(place.cert_file("front")), key_file=str(place.key_file("front")))
    topology = replace(on_free_ports(tmp_path), tls=files)
    publish_front(topology, place)
    async with front_door(topology) as running:
        yield running


def secure_channel(door: FrontDoor, place: CertsFolder) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(place.cert_file("ca").read_bytes())
    return grpc.aio.secure_channel(f"localhost:{door.topology.envoy.tls}", credentials)


def trusting(place: CertsFolder) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=place.cert_file("ca"))


def certificate_shown(door: FrontDoor, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection after its handshake. Raises ssl.SSLError or OSError if Envoy refuses."""
    plain = socket.create_connection((LOOPBACK, door.topology.envoy.tls), timeout=PATIENCE_SECONDS)
    return context.wrap_socket(plain, server_hostname="localhost")


async def test_the_plain_port_redirects_rest_and_refuses_grpc(door: FrontDoor, place: CertsFolder) -> None:
    plain, secure = f"{LOOPBACK}:{door.topology.envoy.front}", f"{LOOPBACK}:{door.topology.envoy.tls}"
    async with door.http.get(f"http://{plain}/v1/models?a=b", allow_redirects=False) as redirect:
        assert (redirect.status, redirect.headers["location"]) == (308, f"https://{secure}/v1/models?a=b")
    async with door.http.get(f"https://{secure}/health", ssl=trusting(place)) as reply:
        assert (reply.status, (await reply.json())["path"]) == (200, "/health")
    error = await refused(door.front, EXECUTE)
    assert (error.code(), error.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        f"Use TLS, on port {door.topology.envoy.tls}.",
    )


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
async def test_both_versions_of_http_can_be_chosen(door: FrontDoor, place: CertsFolder, protocol: str) -> None:
    context = trusting(place)
    context.set_alpn_protocols([protocol])
    with await asyncio.to_thread(certificate_shown, door, context) as connection:
        assert connection.selected_alpn_protocol() == protocol


async def test_tls_below_1_2_is_refused(door: FrontDoor, place: CertsFolder) -> None:
    context = trusting(place)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol version|unsupported"):
        await asyncio.to_thread(certificate_shown, door, context)


async def test_plain_text_on_the_tls_port_is_refused(door: FrontDoor) -> None:
    with pytest.raises(aiohttp.ClientError):
        await door.http.get(f"http://{LOOPBACK}:{door.topology.envoy.tls}/health")


async def test_another_certificate_is_shown_at_once_and_streams_go_on(door: FrontDoor, place: CertsFolder) -> None:
    async with secure_channel(door, place) as channel, held_streams(channel, EXECUTE, 3) as streams:
        context = trusting(place)
        with await asyncio.to_thread(certificate_shown, door, context) as connection:
            before = connection.getpeercert(binary_form=True)
        certificates.made(place.folder, renew=True)
        publish_front(door.topology, place)
        after = before
        async with asyncio.timeout(PATIENCE_SECONDS):
            while after == before:
                with await asyncio.to_thread(certificate_shown, door, context) as connection:
                    after = connection.getpeercert(binary_form=True)
        for agent in door.agents:
            agent.released.set()
        for _, stream in streams:
            assert [await stream.read(), await stream.read()] == [b"released", grpc.aio.EOF]


async def test_inside_everybody_shows_the_certificate_of_the_mesh(tmp_path: Path) -> None:
    mesh, stranger = certificates.mesh_tls(tmp_path / "certs"), certificates.mesh_tls(tmp_path / "other")
    topology = replace(on_free_ports(tmp_path), mesh_tls=True)
    async with front_door(topology, mesh) as door:
        assert (await get(door, "/api/v1/task"))[0] == 200
        assert await replica_of(door.front, EXECUTE) in {agent.name for agent in door.agents}
        assert await replica_of(door.inner, EXECUTE) in {agent.name for agent in door.agents}
        for other in (None, replace(stranger, ca_file=mesh.ca_file)):
            async with inner_channel(topology, other) as channel:
                assert (await refused(channel, EXECUTE)).code() is grpc.StatusCode.UNAVAILABLE


async def test_inside_a_certificate_of_the_authority_for_somebody_else_is_refused(tmp_path: Path) -> None:
    place = certificates.made(tmp_path / "certs")
    topology = replace(on_free_ports(tmp_path), mesh_tls=True)
    async with (
        front_door(topology, certificates.shown(place, "mesh")),
        inner_channel(topology, certificates.shown(place, "front")) as channel,
    ):
        assert (await refused(channel, EXECUTE)).code() is grpc.StatusCode.UNAVAILABLE


async def test_inside_another_certificate_leaves_streams_alone(tmp_path: Path) -> None:
    place = certificates.made(tmp_path / "certs")
    topology = replace(on_free_ports(tmp_path), mesh_tls=True)
    mesh = certificates.shown(place, "mesh")
    async with front_door(topology, mesh) as door, held_streams(door.front, EXECUTE, 3) as streams:
        certificates.made(place.folder, renew=True)
        publish_mesh(topology, mesh)
        async with inner_channel(topology, mesh) as channel:
            assert await replica_of(channel, EXECUTE) in {agent.name for agent in door.agents}
        for agent in door.agents:
            agent.released.set()
        for _, stream in streams:
            assert await stream.read() == b"released"


def test_envoy_and_our_services_agree_on_the_name_in_the_certificates() -> None:
    assert mesh_tls.NAME == MESH_NAME
