"""Reading OpenAI chat requests."""

import msgspec
import pytest

from load.simulated_model.request import parse_request


def test_the_prompt_is_the_last_user_message_and_text_parts_count_as_text() -> None:
    request = parse_request(
        b"""{"model": "m", "temperature": 0.5, "messages": [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": null},
            {"role": "user", "content": [{"type": "text", "text": "second"},
                                         {"type": "image_url", "image_url": {"url": "data:"}}]}]}"""
    )
    assert request.prompt().split() == ["second"]
    assert request.prompt_tokens() == 2


def test_a_conversation_without_a_user_has_an_empty_prompt() -> None:
    assert parse_request(b'{"model": "m", "messages": [{"role": "system", "content": "s"}]}').prompt() == ""


def test_tool_results_count_only_after_the_last_user_message() -> None:
    request = parse_request(
        b"""{"model": "m", "messages": [{"role": "tool", "content": "old"}, {"role": "user", "content": "q"},
            {"role": "assistant"}, {"role": "tool", "content": "a"}, {"role": "tool", "content": "b"}]}"""
    )
    assert request.tool_results() == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "limit"),
    [("", None), (', "max_tokens": 5', 5), (', "max_completion_tokens": 6, "max_tokens": 5', 6)],
)
def test_the_newer_name_of_the_token_limit_goes_first(options: str, limit: int | None) -> None:
    body = f'{{"model": "m", "messages": [{{"role": "user"}}]{options}}}'
    assert parse_request(body.encode()).token_limit == limit


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "truncated"),
        (b'{"messages": [{"role": "user"}]}', "`model`"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user"}], "max_tokens": 0}', "max_tokens"),
    ],
)
def test_a_malformed_request_is_refused_with_the_place_of_the_fault(body: bytes, complaint: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=complaint):
        parse_request(body)
