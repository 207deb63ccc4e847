"""The answer key: the same for the same answer, another for any other."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from meshkit.answer_key import AnswerIdentity, answer_key

FIELDS = AnswerIdentity.__struct_fields__
TEXT_FIELDS = ("tenant", "policy", "agent", "requested_model", "system_prompt", "task")
JSON_FIELDS = tuple(field for field in FIELDS if field not in TEXT_FIELDS)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def identity(**fields: Any) -> AnswerIdentity:
    return AnswerIdentity(**dict.fromkeys(FIELDS, "") | fields)


def reordered(value: Any) -> Any:
    """The same JSON, with every object written the other way round."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(values=st.fixed_dictionaries(dict.fromkeys(JSON_FIELDS, json_values)))
def test_the_order_of_an_objects_members_does_not_matter_in_any_field_at_any_depth(values: dict[str, Any]) -> None:
    again = {field: reordered(value) for field, value in values.items()}
    assert answer_key(identity(**values)) == answer_key(identity(**again))


@given(field=st.sampled_from(FIELDS), data=st.data())
def test_any_change_of_any_field_changes_the_key(field: str, data: st.DataObject) -> None:
    values = st.text(max_size=10) if field in TEXT_FIELDS else json_values
    one, other = data.draw(values), data.draw(values)
    assume(one != other)
    assert answer_key(identity(**{field: one})) != answer_key(identity(**{field: other}))


@given(values=st.permutations([f"value {index}" for index in range(len(FIELDS))]))
def test_a_value_in_another_field_is_another_answer(values: list[str]) -> None:
    in_order = [f"value {index}" for index in range(len(FIELDS))]
    same = answer_key(AnswerIdentity(**dict(zip(FIELDS, values, strict=True)))) == answer_key(
        AnswerIdentity(**dict(zip(FIELDS, in_order, strict=True)))
    )
    assert same == (values == in_order)


def test_text_cannot_slip_from_one_field_into_the_next() -> None:
    assert answer_key(identity(tenant="ab", policy="c")) != answer_key(identity(tenant="a", policy="bc"))
    assert answer_key(identity(tenant='a","policy":"b')) != answer_key(identity(tenant="a", policy="b"))


def test_a_key_is_64_hexadecimal_digits_and_the_same_in_every_process() -> None:
    key = answer_key(identity(task="Hello", context={"b": 1, "a": [None, 1.5, "ä"]}))
    assert re.fullmatch(r"[0-9a-f]{64}", key)
    assert key == "2c32cae66a4fd4a85869ffd4193b0b79bab29c45add26e2a70ae320865f25cc3"


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_may_be_forgotten(field: str) -> None:
    fields = {name: "" for name in FIELDS if name != field}
    with pytest.raises(TypeError, match=field):
        AnswerIdentity(**fields)


def test_structs_of_the_core_count_by_their_fields() -> None:
    class Sampling(msgspec.Struct):
        temperature: float

    assert answer_key(identity(parameters=Sampling(0.5))) != answer_key(identity(parameters=Sampling(0.6)))
