"""A gateway that speaks mutual TLS on both sides: with Envoy in front of it, and with the agents behind."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from load.measuring.ports import free_port
from meshkit.certificates import client_context
from meshkit.mesh_tls import NAME, MeshTls
from tests import certificates
from tests.integration.gateway.gateway_process import TIMEOUT_SECONDS, GatewayProcess, running_gateway
from tests.integration.gateway.scripted_agent import ScriptedAgent, served
from tests.mesh_identity import SIGNER, signed


@pytest.fixture
def tls(tmp_path: Path) -> MeshTls:
    return certificates.mesh_tls(tmp_path / "certs")


@pytest.fixture
async def gateway(tls: MeshTls, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    agent_port = free_port()
    async with (
        served(ScriptedAgent(), port=agent_port, signer=SIGNER, tls=tls),
        running_gateway(
            tmp_path,
            mesh_port=agent_port,
            SHOAL_MESH_CERT_FILE=tls.cert_file,
            SHOAL_MESH_KEY_FILE=tls.key_file,
            SHOAL_MESH_CA_FILE=tls.ca_file,
        ) as gateway,
    ):
        yield gateway


@asynccontextmanager
async def client(gateway: GatewayProcess, context: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{gateway.port}", verify=context, headers=signed(), timeout=TIMEOUT_SECONDS
    ) as client:
        yield client


async def answer(client: httpx.AsyncClient) -> str:
    body = {"task": "Say hello."}
    response = await client.post("/api/v1/task", json=body, extensions={"sni_hostname": NAME})
    assert response.status_code == 200, response.text
    return str(response.json()["output"])


async def test_a_task_goes_through_for_one_of_the_mesh(gateway: GatewayProcess, tls: MeshTls) -> None:
    async with client(gateway, tls.client_context()) as envoy:
        assert await answer(envoy)


async def test_others_are_turned_away(gateway: GatewayProcess, tls: MeshTls, tmp_path: Path) -> None:
    place, theirs = certificates.made(Path(tls.ca_file).parent), certificates.mesh_tls(tmp_path / "theirs")
    strangers = {
        "no certificate": client_context(tls.ca_file),
        "another authority": MeshTls(
            cert_file=theirs.cert_file, key_file=theirs.key_file, ca_file=tls.ca_file
        ).client_context(),
        "the front door's": certificates.shown(place, "front").client_context(),
    }
    for who, context in strangers.items():
        async with client(gateway, context) as stranger:
            with pytest.raises(httpx.TransportError):
                pytest.fail(f"{who}: {await answer(stranger)}")


async def test_without_tls_nothing_is_answered(gateway: GatewayProcess) -> None:
    async with gateway.client() as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get("/health")
