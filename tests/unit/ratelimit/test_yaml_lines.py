"""Files in YAML: structs, and faults with their lines."""

from typing import Annotated, Literal

import msgspec
import pytest

from services.ratelimit import yaml_lines
from services.ratelimit.yaml_lines import FaultyFileError, fault_at, read


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    requests: int = 1
    unit: Literal["second", "minute"] = "second"
    shadow: bool = False

    def __post_init__(self) -> None:
        if self.requests == 13:
            raise ValueError("13 brings bad luck")


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    value: str | None = None
    ratio: float | None = None
    tiers: dict[str, Tier] = {}
    steps: list[Tier] = []
    by_route: dict[Literal["task", "chat"], dict[str, Annotated[int, msgspec.Meta(ge=1)]]] = {}


GOOD = """\
# who may do what
name: 007
value: yes
ratio: 0.25
tiers:
  free: {requests: 1}
  basic:
    requests: 10
    shadow: true
steps:
  - unit: minute
  - requests: "2"
by_route:
  task: {a: 1}
"""


def refused(text: str) -> FaultyFileError:
    with pytest.raises(FaultyFileError) as caught:
        read(text, Document)
    return caught.value


def test_scalars_mean_what_the_types_of_the_fields_say() -> None:
    assert read(GOOD, Document) == Document(
        name="007",
        value="yes",
        ratio=0.25,
        tiers={"free": Tier(requests=1), "basic": Tier(requests=10, shadow=True)},
        steps=[Tier(unit="minute"), Tier(requests=2)],
        by_route={"task": {"a": 1}},
    )


@pytest.mark.parametrize(
    ("text", "meant"), [("", None), ("~", None), ("null", None), ("'null'", "null"), ("''", ""), ("1_0", "1_0")]
)
def test_only_what_is_left_out_is_none(text: str, meant: str | None) -> None:
    assert read(f"name: x\nvalue: {text}\n", Document).value == meant


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("requests: 10", "requests: ten", 8, "Expected `int`, got `str`"),
        ("shadow: true", "shadow: perhaps", 9, "Expected `bool`"),
        ("shadow: true", "shadwo: true", 9, "'shadwo' is unknown"),
        ("tiers:", "teirs:", 5, "'teirs' is unknown"),
        ("requests: 10", "requests: 13", 7, "bad luck"),
        ("requests: 1}", "requests: 13}", 6, "bad luck"),
        ('requests: "2"', "unit: hour", 12, "Invalid enum value 'hour'"),
        ("name: 007", "other: 007", 2, "'other' is unknown"),
        ("name: 007\n", "", 2, "missing required field `name`"),
        ("task:", "tusk:", 14, "Invalid enum value 'tusk'"),
        ("{a: 1}", "{a: 1,\n    b: 0}", 15, "`int` >= 1"),
        ("basic:", "free:", 7, "'free' is there twice"),
        ("  basic:", "  [1]:", 7, "plain text"),
        ("ratio: 0.25", "ratio: 'x", 4, ""),
        ("ratio: 0.25", "ratio: : 3", 4, ""),
        ("ratio: 0.25", "ratio: *x", 4, "undefined alias"),
        ("ratio: 0.25", "ratio: \x07", 4, "U+0007"),
        ("ratio: 0.25", "---", 4, "another document"),
        ("ratio: 0.25", r'ratio: "\UFFFFFFFF"', 4, "cannot be read"),
        ("ratio: 0.25", r'ratio: "\U00110000"', 4, "cannot be read"),
        ("ratio: 0.25", r'ratio: "\ud83d\ude00"', 4, "U+D83D is half a character"),
        ("ratio: 0.25", r'"\udc00": 0.25', 4, "U+DC00 is half a character"),
        ("ratio: 0.25", "ratio: !a%zz 1", 4, "hexadecimal"),
        ("ratio: 0.25", "ratio: !a%ff 1", 4, "decode byte 0xff"),
        ("# who may do what", f"%YAML 1.{'9' * 5000}\n---", 1, "cannot be read"),
        ("ratio: 0.25", "\tratio: 1", 4, ""),
    ],
)
def test_a_fault_is_told_with_its_line(old: str, new: str, line: int, said: str) -> None:
    assert GOOD.count(old) == 1
    fault = refused(GOOD.replace(old, new))
    assert said in str(fault)
    assert str(fault).startswith(f"line {fault.line}: ")
    if said:
        assert fault.line == line
    else:  # what the parser takes for the beginning of the trouble may be the line before or after
        assert line <= fault.line <= GOOD.count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("requests: 10", "requests: ten", "line 8: tiers.basic.requests: Expected `int`, got `str`"),
        ("shadow: true", "shadwo: true", "line 9: tiers.basic.shadwo: the name 'shadwo' is unknown here"),
        ('requests: "2"', "unit: hour", "line 12: steps[1].unit: Invalid enum value 'hour'"),
        ("{a: 1}", "{a: 1, 'b\\n': 0}", "line 14: by_route.task.'b\\\\n': Expected `int` >= 1"),
        ("task:", "tusk:", "line 14: by_route.tusk: Invalid enum value 'tusk'"),
        ("name: 007", "other: 007", "line 2: other: the name 'other' is unknown here"),
    ],
)
def test_a_fault_names_the_field(old: str, new: str, told: str) -> None:
    assert str(refused(GOOD.replace(old, new))) == told


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "- a list", "text", "null"])
def test_what_is_no_document_is_refused(text: str) -> None:
    assert refused(text).line == 1


def test_aliases_stand_for_what_they_name() -> None:
    text = "name: x\ntiers:\n  a: &a {requests: 5}\n  b: *a\n"
    assert read(text, Document).tiers == {"a": Tier(requests=5), "b": Tier(requests=5)}


def test_a_few_aliases_that_stand_for_millions_of_values_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "values" in str(refused("\n".join(lines)))


@pytest.mark.parametrize("text", ["name: &a [*a]", "name: " + "[" * 5000])
def test_values_that_are_too_deep_are_refused(text: str) -> None:
    assert str(refused(text)) == "line 1: the values are nested too deeply"


def test_a_file_that_is_too_long_is_refused() -> None:
    assert "characters" in str(refused("#" * (yaml_lines.MOST_CHARACTERS + 1)))


def test_tags_make_no_objects() -> None:
    assert read("name: !!python/object/apply:os.getcwd ''", Document).name == ""


def test_faults_that_are_found_later_have_a_line_too() -> None:
    assert fault_at(GOOD, ["tiers", "basic", "requests"], "too many").line == 8
    assert fault_at(GOOD, ["steps", 1], "one too many").line == 12
    assert str(fault_at(GOOD, ["tiers", "basic", "burst"], "is missing")) == "line 7: is missing"
    assert fault_at(GOOD, ["steps", 5], "?").line == 10
