"""Scenarios of load on the front door: their files, and what is asked by them."""

import json
from pathlib import Path

import pytest

from load.front_door.protocols import grpc_call, rest_request
from load.front_door.scenario import FOLDER, Callers, Scenario, ScenarioError, Task, own, read
from load.front_door.tiers import admits

GOOD = """
title = "Two kinds"
shows = "How they get on."
models = ["simulated"]
[[callers]]
name = "askers"
at_once = 4
tasks = [{ words = "Known.", share = 4 }, { words = "New {number}.", share = 2 }]
"""


def _file(folder: Path, text: str, name: str = "my_own.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_scenario_is_read_from_a_file_of_ones_own(tmp_path: Path) -> None:
    assert read(_file(tmp_path, GOOD)) == (
        "my_own",
        Scenario(
            title="Two kinds",
            shows="How they get on.",
            models=("simulated",),
            callers=[
                Callers(
                    name="askers",
                    at_once=4,
                    tasks=[Task(words="Known.", share=4), Task(words="New {number}.", share=2)],
                )
            ],
        ),
    )


@pytest.mark.parametrize(
    ("addition", "complaint"),
    [
        ("at_onc = 4", r"my_own.toml: .*unknown field `at_onc` - at `\$.callers\[0\]`"),
        ("tier = 'gold'", "askers: there is no tier 'gold'; there are anonymous, free, basic, premium, bench"),
        ("simulated = '[[token=3]]'", r"no directive \[\[token=3\]\]"),
        ("simulated = 'Hurry. [[tokens=3]]'", "holds more than directives: 'Hurry.'"),
        ("stream = 'yes'", "Expected `bool`, got `str`"),
        ("max_tokens = 0", ">= 1"),
        ("name = 'again'", "my_own.toml: "),
    ],
)
def test_a_fault_of_a_file_is_named(tmp_path: Path, addition: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        read(_file(tmp_path, GOOD + addition))


def test_callers_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="several callers named 'askers'"):
        read(_file(tmp_path, GOOD + GOOD[GOOD.index("[[callers]]") :]))


def test_words_that_a_generator_would_take_for_a_template_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"cannot hold \{\{"):
        read(_file(tmp_path, GOOD.replace("Known.", "{{.WorkerID}}")))


def test_a_file_whose_name_would_lead_plots_astray_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="name the file by"):
        read(_file(tmp_path, GOOD, "My Own.toml"))


def test_every_scenario_of_ours_can_be_read() -> None:
    assert own([]).keys() == {path.stem for path in FOLDER.iterdir()}


def test_a_scenario_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(ScenarioError, match="no scenario warm_cache; there are cold_cache, hot_cache"):
        own(["hot_cache", "warm_cache"])


CALLERS = Callers(
    name="askers",
    at_once=8,
    at_once_local=2,
    max_tokens=30,
    max_tokens_local=5,
    simulated="[[tokens=3]]",
    tasks=[Task(words="Known.", share=4), Task(words="New {number}.", share=2)],
)


def test_grpc_and_rest_ask_the_same_by_their_shares() -> None:
    call, request = grpc_call(CALLERS, "simulated", 7, "key"), rest_request(CALLERS, "simulated", 7, "key")
    known = "[[tokens=3]] Known."
    assert [turn["task"] for turn in json.loads(call.request)] == [
        known,
        known,
        "[[tokens=3]] New 7.{{.RequestNumber}}.",
    ]
    assert [json.loads(body)["task"] for body in request.bodies] == [known, known, "[[tokens=3]] New 7.{number}."]
    assert call.metadata["x-api-key"] == request.headers["X-API-Key"] == "key"


def test_the_local_model_is_asked_for_less_and_given_no_directives() -> None:
    [known, *_] = json.loads(grpc_call(CALLERS, "local", 7, "key").request)
    assert known == {"task": "Known.", "sampling": {"max_tokens": 5}}
    assert json.loads(rest_request(CALLERS, "local", 7, "key").bodies[0]) == {
        "task": "Known.",
        "max_tokens": 5,
        "stream": False,
    }
    assert (CALLERS.number_at_once("simulated"), CALLERS.number_at_once("local")) == (8, 2)


def test_a_limit_lets_a_burst_pass_and_then_its_rate() -> None:
    assert admits("free", 8.9) == 10 + 8
