"""What the model is shown."""

from services.agent.conversation import Message, Role, ToolCall
from services.agent.prompt import MAX_HISTORY, compose, user_message

TASK = Message(Role.USER, "Add.")
ONE, TWO = ToolCall("call_1", "add", "{}"), ToolCall("call_2", "add", "{}")


def shown(*history: Message, system_prompt: str = "", task: Message | None = TASK) -> tuple[Message, ...]:
    return compose(system_prompt=system_prompt, preferences={}, history=history, task=task)


def result(call: ToolCall) -> Message:
    return Message(Role.TOOL, "3", tool_call_id=call.id)


def asked(*calls: ToolCall, content: str = "") -> Message:
    return Message(Role.ASSISTANT, content, tool_calls=calls)


def test_a_task_without_context_is_the_message() -> None:
    assert user_message("Add.", {}) == TASK


def test_context_is_shown_as_json_in_one_order() -> None:
    message = user_message("Add.", {"b": [1, None], "a": "\u00e4"})
    assert message.content == 'Add.\n\nContext, as JSON:\n{"a":"\u00e4","b":[1,null]}'
    assert message == user_message("Add.", {"a": "\u00e4", "b": [1, None]})


def test_system_prompt_history_and_task_come_in_this_order() -> None:
    history = (Message(Role.USER, "Hi."), Message(Role.ASSISTANT, "Hello."))
    assert shown(*history, system_prompt="Be brief.") == (Message(Role.SYSTEM, "Be brief."), *history, TASK)


def test_without_instructions_there_is_no_system_message() -> None:
    assert shown() == (TASK,)


def test_system_messages_of_the_caller_take_the_place_of_ours() -> None:
    history = (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hi."), Message(Role.SYSTEM, "Be quick."))
    assert shown(*history, system_prompt="Be brief.") == (
        Message(Role.SYSTEM, "Be kind.\n\nBe quick."),
        Message(Role.USER, "Hi."),
        TASK,
    )


def test_preferences_are_added_to_whatever_instructions_there_are() -> None:
    wish = 'Preferences of the user, as JSON:\n{"a":1,"b":2}'
    for system_prompt, text in (("Be brief.", f"Be brief.\n\n{wish}"), ("", wish)):
        messages = compose(system_prompt=system_prompt, preferences={"b": 2, "a": 1}, history=(), task=TASK)
        assert messages == (Message(Role.SYSTEM, text), TASK)


def test_only_the_end_of_a_long_history_is_shown_but_every_instruction() -> None:
    history = [Message(Role.USER, str(number)) for number in range(MAX_HISTORY + 5)]
    messages = shown(Message(Role.SYSTEM, "Be kind."), *history)
    assert messages == (Message(Role.SYSTEM, "Be kind."), *history[5:], TASK)


def test_a_result_whose_call_was_left_out_is_left_out_too() -> None:
    rest = [Message(Role.USER, str(number)) for number in range(MAX_HISTORY - 1)]
    assert shown(asked(ONE), result(ONE), *rest) == (*rest, TASK)


def test_a_tool_call_with_its_result_is_shown() -> None:
    assert shown(TASK, asked(ONE), result(ONE), task=None) == (TASK, asked(ONE), result(ONE))


def test_a_tool_call_that_was_never_answered_is_left_out() -> None:
    """As in a session, where the caller went on with another task instead of the tool's result."""
    assert shown(TASK, asked(ONE), TASK, asked(TWO, content="Wait.")) == (TASK, TASK, asked(content="Wait."), TASK)


def test_of_several_calls_the_answered_ones_are_shown() -> None:
    assert shown(TASK, asked(ONE, TWO), result(TWO), task=None) == (TASK, asked(TWO), result(TWO))


def test_an_answer_that_was_empty_is_left_out() -> None:
    assert shown(TASK, Message(Role.ASSISTANT, "")) == (TASK, TASK)
