"""Certificates that change while streams run, one that has expired, and clients who speak no good TLS."""

import asyncio
import shutil
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest

from launcher.certs.folder import CertsFolder
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests import certificates
from tests.faults.callers import Caller, Surface
from tests.faults.held_streams import WHOLE, held_streams
from tests.faults.waiting import until
from tests.mesh import Mesh
from tests.tls_mesh import certificate_shown, running_tls_mesh

AGENTS = ("agent-1", "agent-2")
LONG = "Tell it. [[tokens=120]] [[tokens_per_second=20]]"
SHORT = "Say it. [[tokens=3]]"
REQUESTS = 500
OF_A_KIND = 2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> CertsFolder:
    return certificates.made(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def tls_mesh(place: CertsFolder) -> Iterator[Mesh]:
    with running_tls_mesh(place) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def key(tls_mesh: Mesh) -> str:
    return tls_mesh.create_key(tenant="careful", tier="bench")


@asynccontextmanager
async def secure_caller(mesh: Mesh, key: str, place: CertsFolder) -> AsyncIterator[Caller]:
    """One who trusts the authority, on connections of its own."""
    authority = place.cert_file("ca")
    address = f"localhost:{mesh.tls_port}"
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=authority))
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    # Else gRPC would use the connection that there is.
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        aiohttp.ClientSession(f"https://{address}", headers={"X-API-Key": key}, connector=connector) as session,
        grpc.aio.secure_channel(address, credentials, own) as channel,
    ):
        yield Caller(session, agent_pb2_grpc.AgentServiceStub(channel), key)


async def until_another_is_shown(mesh: Mesh, place: CertsFolder, before: bytes | None) -> None:
    async def is_shown() -> bool:
        return await asyncio.to_thread(certificate_shown, mesh, place.cert_file("ca")) != before

    await until(is_shown, "another certificate")


async def test_a_renewed_certificate_is_shown_and_no_stream_is_dropped(
    tls_mesh: Mesh, place: CertsFolder, key: str
) -> None:
    before = certificate_shown(tls_mesh, place.cert_file("ca"))
    async with secure_caller(tls_mesh, key, place) as caller, held_streams(caller, LONG, sse=3, grpc=3) as held:
        certificates.made(place.folder, renew=True)
        await until_another_is_shown(tls_mesh, place, before)
        async with secure_caller(tls_mesh, key, place) as newcomer:
            for surface in newcomer.surfaces.values():
                assert await surface(SHORT, "")
        assert {await stream.ending for stream in held} == {WHOLE}


async def test_an_expired_certificate_is_told_of_and_not_shown(
    tls_mesh: Mesh, place: CertsFolder, tmp_path: Path
) -> None:
    before = certificate_shown(tls_mesh, place.cert_file("ca"))
    expired = certificates.expired(tmp_path)
    for file in ("key_file", "cert_file"):
        shutil.copy(getattr(expired, file)("front"), getattr(place, file)("front"))

    async def is_told() -> bool:
        return "certificate has expired; the certificate before it stays in use" in tls_mesh.output()

    await until(is_told, "a complaint")
    assert certificate_shown(tls_mesh, place.cert_file("ca")) == before
    certificates.made(place.folder, renew=True)
    await until_another_is_shown(tls_mesh, place, before)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(tls_mesh: Mesh, version: ssl.TLSVersion) -> None:
    old = ssl.create_default_context()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = old.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", tls_mesh.tls_port), timeout=30) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)protocol version|unsupported"),
    ):
        old.wrap_socket(plain, server_hostname="localhost")


async def test_plain_text_on_the_tls_port_is_refused(tls_mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{tls_mesh.tls_port}/health")


async def test_the_plain_port_shows_the_way(tls_mesh: Mesh, key: str) -> None:
    async with aiohttp.ClientSession(tls_mesh.url, headers={"X-API-Key": key}) as session:
        answer = await session.post("/api/v1/task", json={"task": SHORT}, allow_redirects=False)
        assert answer.status == 308
        assert answer.headers["location"] == f"https://127.0.0.1:{tls_mesh.tls_port}/api/v1/task"
    async with grpc.aio.insecure_channel(tls_mesh.grpc_target) as channel:
        agent: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await agent.ListModels(pb.ListModelsRequest(), timeout=30)
    assert refused.value.details() == f"Use TLS, on port {tls_mesh.tls_port}."


async def test_agents_that_show_certificates_are_replaced_and_no_request_fails(
    tls_mesh: Mesh, place: CertsFolder, key: str
) -> None:
    answered, is_replaced = Counter[str](), False

    async def ask_on(kind: str, surface: Surface) -> None:
        while not is_replaced or answered.total() < REQUESTS:
            assert await surface(SHORT, "")
            answered[kind] += 1

    before = {tls_mesh.pid(agent) for agent in AGENTS}
    async with secure_caller(tls_mesh, key, place) as caller, asyncio.TaskGroup() as callers:
        for kind, surface in list(caller.surfaces.items()) * OF_A_KIND:
            callers.create_task(ask_on(kind, surface))
        await tls_mesh.shoal_meanwhile("restart", "agent")
        is_replaced = True
    after = {pid for name, pid in tls_mesh.pids().items() if name.startswith("agent-")}
    assert len(after) == len(AGENTS)
    assert not before & after
    assert set(answered) == set(caller.surfaces)
