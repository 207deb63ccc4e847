"""The command line: what it refuses and what its help tells."""

import pytest
from click.testing import CliRunner

from load.simulated_model.__main__ import main
from load.simulated_model.directives import directive_forms


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--first-token", "often"], "--first-token"),
        (["--first-token", "uniform:3,1"], "the low end is above the high end"),
        (["--tokens-per-second", "gamma:1"], "exponential:MEAN"),
        (["--slots", "0"], "--slots"),
        (["--error-rate", "1.5"], "--error-rate"),
        (["--error-rate", "nan"], "at most 1"),
        (["--error-rate", "0.6", "--hang-rate", "0.6"], "at most 1"),
        (["--error-status", "200"], "--error-status"),
        (["--port", "70000"], "--port"),
    ],
)
def test_a_bad_option_is_refused_by_name(options: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.split())


def test_the_help_explains_every_directive() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    names = [form.strip("[]").split("=")[0] for form in directive_forms()]
    assert [name for name in names if f"[[{name}" not in text] == []
