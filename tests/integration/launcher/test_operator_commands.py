"""Commands as the operator of the mesh: which errors end them with a sentence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from launcher.operator import OperatorError, open_operator
from launcher.operator_commands import run_as_operator
from launcher.settings import OperatorSettings


@asynccontextmanager
async def opened(settings: OperatorSettings) -> AsyncIterator[Path]:
    yield settings.secret_file()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "mesh-secret").write_text("s" * 43)
    return {"SHOAL_HOME": str(tmp_path)}


def test_an_error_that_the_user_can_mend_is_said_in_a_sentence(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async def command(_client: Path) -> None:
        raise OperatorError("Start the mesh.")

    with pytest.raises(SystemExit) as ended:
        run_as_operator(environ, opened, command)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Start the mesh.\n"


def test_a_fault_of_ours_is_not_taken_for_one_of_the_users(environ: dict[str, str]) -> None:
    async def command(_client: Path) -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        run_as_operator(environ, opened, command)


@pytest.mark.parametrize("secret", ["short", None])
async def test_a_secret_that_is_no_good_any_more_is_named(secret: str | None, tmp_path: Path) -> None:
    if secret:
        (tmp_path / "mesh-secret").write_text(secret)
    with pytest.raises(OperatorError, match=r"secret in .*mesh-secret is no good"):
        async with open_operator(OperatorSettings(home=str(tmp_path))):
            pass
