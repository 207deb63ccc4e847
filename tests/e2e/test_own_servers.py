"""The mesh pointed at servers of its user: Redis, PostgreSQL, a model."""

import httpx
import pytest
from sqlalchemy import text

from meshkit.database import database_url, open_engine
from tests.mesh import running_mesh
from tests.simulated_model import simulated_model


@pytest.fixture
def own_servers(valkey_url: str, postgres_url: str) -> dict[str, str]:
    return {
        "SHOAL_LIMITS_REDIS_URL": valkey_url.removesuffix("/0") + "/1",
        "SHOAL_STATE_REDIS_URL": valkey_url.removesuffix("/0") + "/2",
        "SHOAL_CACHE_REDIS_URL": valkey_url.removesuffix("/0") + "/3",
        "SHOAL_DATABASE_URL": postgres_url,
    }


async def test_redis_postgresql_and_a_model_of_the_users_own(own_servers: dict[str, str], postgres_url: str) -> None:
    async with simulated_model("--model", "small", "--model", "large") as model:
        own = {**own_servers, "SHOAL_MODEL_BASE_URL": f"{model.url}/v1", "SHOAL_MODEL_PRICES": "large=2/10"}
        with running_mesh(None, **own) as mesh:
            headers = {"X-API-Key": mesh.api_key}
            async with httpx.AsyncClient(base_url=mesh.url, headers=headers, timeout=60) as rest:
                preferences = {"preferences": {"tone": "brief"}}
                (await rest.put("/api/v1/users/ada/preferences", json=preferences)).raise_for_status()
                task = {"task": "Hello there.", "model": "large", "user_id": "ada", "session_id": "own-1"}
                answer = (await rest.post("/api/v1/task", json=task)).raise_for_status().json()
            started = set(mesh.pids())
        asked = (await model.calls())["last_request"]
    assert answer["output"].startswith("Hello there.")
    assert answer["usage"]["cost_usd"] == pytest.approx(
        (2 * answer["usage"]["input_tokens"] + 10 * answer["usage"]["output_tokens"]) / 1e6
    )
    assert asked["model"] == "large"
    assert "brief" in asked["messages"][0]["content"]
    assert not {name for name in started if name.startswith(("valkey", "model"))}, "they were not to be started"
    async with (
        open_engine(database_url(postgres_url, home="", owner="agent")) as engine,
        engine.connect() as connection,
    ):
        assert (
            await connection.execute(text("SELECT count(*) FROM preferences WHERE tenant = 'demo'"))
        ).scalar_one() == 1
        assert (await connection.execute(text("SELECT count(*) FROM api_keys"))).scalar_one() >= 1
