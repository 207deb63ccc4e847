"""A mesh that speaks TLS everywhere, with what `shoal certs` made: who gets in."""

import ssl
from collections.abc import AsyncIterator, Iterator

import grpc
import httpx
import pytest

from launcher.certs.folder import CertsFolder
from meshkit.channel import open_channel
from shoal.agent.v1 import agent_pb2 as pb
from shoal.agent.v1 import agent_pb2_grpc
from tests import certificates
from tests.mesh import Mesh
from tests.tls_mesh import TIMEOUT_SECONDS, running_tls_mesh


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> CertsFolder:
    return certificates.made(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def mesh(place: CertsFolder) -> Iterator[Mesh]:
    with running_tls_mesh(place) as mesh:
        yield mesh


@pytest.fixture
async def rest(mesh: Mesh, place: CertsFolder) -> AsyncIterator[httpx.AsyncClient]:
    """A client who trusts the authority."""
    trust = ssl.create_default_context(cafile=place.cert_file("ca"))
    url, headers = f"https://localhost:{mesh.tls_port}", {"X-API-Key": mesh.api_key}
    async with httpx.AsyncClient(base_url=url, verify=trust, headers=headers, timeout=TIMEOUT_SECONDS) as client:
        yield client


async def test_rest_reaches_an_agent_through_the_gateway(rest: httpx.AsyncClient) -> None:
    answer = await rest.post("/api/v1/task", json={"task": "Say hello. [[tokens=3]]"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"]


async def test_grpc_reaches_an_agent(mesh: Mesh, place: CertsFolder) -> None:
    trust = grpc.ssl_channel_credentials(place.cert_file("ca").read_bytes())
    async with grpc.aio.secure_channel(f"localhost:{mesh.tls_port}", trust) as channel:
        stub: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(channel)
        request = pb.ExecuteRequest(task="Say hello. [[tokens=3]]")
        answer = await stub.Execute(request, metadata=[("x-api-key", mesh.api_key)], timeout=TIMEOUT_SECONDS)
    assert answer.output


def test_the_operator_needs_the_certificate_too(mesh: Mesh) -> None:
    assert "demo" in mesh.shoal("keys", "list").stdout
    theirs = {name: value for name, value in mesh.environment.items() if not name.startswith("SHOAL_MESH_")}
    refused = Mesh(mesh.process, theirs, mesh.output_file).shoal("keys", "list", check=False)
    assert refused.returncode == 1
    assert "set SHOAL_MESH_*_FILE" in refused.stderr


@pytest.mark.parametrize("process", ["agent-1", "cache-1", "ratelimit-1", "envoy"])
async def test_strangers_reach_no_inner_port(mesh: Mesh, place: CertsFolder, process: str) -> None:
    port = mesh.inner_port if process == "envoy" else mesh.port(process)
    for shown in (None, certificates.shown(place, "front")):
        async with open_channel(f"127.0.0.1:{port}", tls=shown) as channel:
            stub: agent_pb2_grpc.AgentServiceAsyncStub = agent_pb2_grpc.AgentServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ListModels(pb.ListModelsRequest(), timeout=TIMEOUT_SECONDS)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
