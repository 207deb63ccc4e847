"""Other spellings of a path: each is the path itself, with its bucket and its check of the key, or is refused."""

import http.client

import pytest

from tests.faults.raw_http2 import GRPC_HEADERS, RawHttp2, front_port, grpc_message
from tests.mesh import Mesh

ADDRESS = "127.0.0.5"
UNKNOWN = "sk-shoal-" + "c" * 43
REMAINING = "x-ratelimit-remaining"
OK, MALFORMED, NO_SUCH_METHOD, UNAUTHENTICATED = "0", "3", "12", "16"
SPELLINGS = {
    "/v1/models": 200,
    "//v1/models": 200,
    "/v1//models": 200,
    "/./v1/models": 200,
    "/v1/./models": 200,
    "/v1/chat/../models": 200,
    "/health/../v1/models": 200,
    "/v1/models?x=1": 200,
    "/v1/models?x=/health": 200,
    "/v1/%6dodels": 200,
    "/v1/models#x": 400,
    "/v1%2fmodels": 400,
    "/v1%2Fmodels": 400,
    "/v1%5cmodels": 400,
    "/health/..%2fv1/models": 400,
    "/v1/models;x": 404,
    "/v1/models/": 400,
    "/V1/MODELS": 404,
    "/v1/models%00": 400,
    "/v1/models%20": 404,
    "/health;/../v1/models": 200,
    "/docs/%2e%2e/v1/models": 200,
}
RPC_SPELLINGS = {
    "/shoal.agent.v1.AgentService/ListModels": OK,
    "/shoal.agent.v1.AgentService/ListModels?x": NO_SUCH_METHOD,
    "//shoal.agent.v1.AgentService/ListModels": OK,
    "/./shoal.agent.v1.AgentService/ListModels": OK,
    "/grpc.health.v1.Health/../../shoal.agent.v1.AgentService/ListModels": OK,
    "/Shoal.Agent.v1.AgentService/ListModels": NO_SUCH_METHOD,
    "/shoal.agent.v1.AgentService%2fListModels": MALFORMED,
    "/shoal.agent.v1.AgentService;x/ListModels": NO_SUCH_METHOD,
    "/shoal.agent.v1.AgentService/ListModels/": NO_SUCH_METHOD,
}


@pytest.fixture(scope="module")
def counted(mesh: Mesh) -> str:
    """A key whose tokens do not come back, so that each one spent is seen."""
    return mesh.create_key(tenant="speller", tier="counted")


def get(mesh: Mesh, path: str, key: str) -> tuple[int, dict[str, str]]:
    """Status and headers; the path goes out as it is written."""
    connection = http.client.HTTPConnection("127.0.0.1", front_port(mesh), source_address=(ADDRESS, 0), timeout=60)
    try:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        connection.putheader("x-api-key", key)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def call(mesh: Mesh, path: str, key: str) -> dict[str, str]:
    """Headers and trailers of a gRPC call; the path goes out as it is written."""
    with RawHttp2(front_port(mesh), address=ADDRESS) as client:
        client.send(client.request(1, path, ("x-api-key", key), *GRPC_HEADERS))
        client.send(client.data(1, grpc_message(b""), ends=True))
        return client.answer(1)


@pytest.fixture
def left(mesh: Mesh, counted: str) -> int:
    """What is left in the bucket before a test."""
    return int(get(mesh, "/v1/models", counted)[1][REMAINING])


@pytest.mark.parametrize("path", SPELLINGS)
def test_a_spelling_spends_from_the_same_bucket_or_is_refused(path: str, mesh: Mesh, counted: str, left: int) -> None:
    status, headers = get(mesh, path, counted)
    assert status == SPELLINGS[path]
    assert status == 400 if REMAINING not in headers else int(headers[REMAINING]) == left - 1


@pytest.mark.parametrize("path", RPC_SPELLINGS)
def test_a_spelling_of_a_method_spends_from_the_same_bucket_or_is_refused(
    path: str, mesh: Mesh, counted: str, left: int
) -> None:
    answer = call(mesh, path, counted)
    assert answer["grpc-status"] == RPC_SPELLINGS[path]
    assert answer["grpc-status"] != OK if REMAINING not in answer else int(answer[REMAINING]) == left - 1


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_spelling_lets_a_bad_key_in(path: str, mesh: Mesh) -> None:
    assert get(mesh, path, UNKNOWN)[0] in ({401} if SPELLINGS[path] == 200 else {400, 401})


@pytest.mark.parametrize("path", RPC_SPELLINGS)
def test_no_spelling_of_a_method_lets_a_bad_key_in(path: str, mesh: Mesh) -> None:
    expected = UNAUTHENTICATED if RPC_SPELLINGS[path] == OK else RPC_SPELLINGS[path]
    assert call(mesh, path, UNKNOWN)["grpc-status"] == expected
