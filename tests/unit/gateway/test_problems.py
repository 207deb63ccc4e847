"""Errors as HTTP: a status for every code, and a body in the shape of the API."""

import json
from typing import Any

import pytest

from envoyconf.local_replies import ERRORS as ENVOY_ERRORS
from meshkit.errors import Code, Reason, ShoalError
from services.gateway import problems

NATIVE, OPENAI = "/api/v1/task", "/v1/chat/completions"


def body(error: ShoalError, path: str) -> Any:
    return json.loads(problems.body(error, path=path, request_id="request-1"))


def test_every_code_has_a_status() -> None:
    assert set(problems.HTTP_STATUS) == set(Code)


@pytest.mark.parametrize("reason", Reason)
def test_every_error_has_a_status_of_an_error(reason: Reason) -> None:
    assert 400 <= problems.http_status(ShoalError(reason, "")) <= 599


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.NOT_CACHED}))
def test_the_500s_are_for_what_is_not_the_callers_fault(reason: Reason) -> None:
    status = problems.http_status(ShoalError(reason, ""))
    assert (status >= 500) == (ShoalError(reason, "").code in {Code.INTERNAL, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})


def test_http_has_finer_words_than_grpc_for_three_of_them() -> None:
    assert problems.http_status(ShoalError(Reason.NOT_CACHED, "")) == 504
    assert problems.http_status(ShoalError(Reason.METHOD_NOT_ALLOWED, "")) == 405
    assert problems.http_status(ShoalError(Reason.REQUEST_TOO_LARGE, "")) == 413


@pytest.mark.parametrize("reason", Reason)
def test_our_own_shape(reason: Reason) -> None:
    error = ShoalError(reason, "Sätze.", field="task")
    assert body(error, NATIVE) == {
        "error": "Sätze.",
        "code": error.code,
        "reason": reason,
        "field": "task",
        "request_id": "request-1",
    }


def test_our_own_shape_says_when_to_try_again_if_that_is_known() -> None:
    assert (
        body(ShoalError(Reason.RATE_LIMITED, "Wait.", retry_after_seconds=0.73), NATIVE)["retry_after_seconds"] == 0.73
    )
    assert body(ShoalError(Reason.RATE_LIMITED, "Wait.", retry_after_seconds=0), NATIVE)["retry_after_seconds"] == 0


@pytest.mark.parametrize("reason", Reason)
def test_openais_shape(reason: Reason) -> None:
    error = ShoalError(reason, "Sätze.", field="model")
    told = body(error, OPENAI)
    assert told == {
        "error": {"message": "Sätze.", "type": told["error"]["type"], "param": "model", "code": reason.lower()}
    }
    status = problems.http_status(error)
    expected = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    assert told["error"]["type"] == expected


def test_openais_shape_says_when_to_try_again_if_that_is_known() -> None:
    for seconds in (0, 0.73):
        error = ShoalError(Reason.RATE_LIMITED, "Wait.", retry_after_seconds=seconds)
        assert body(error, OPENAI)["error"]["retry_after_seconds"] == seconds


def test_openais_shape_has_no_param_if_no_field_is_at_fault() -> None:
    assert body(ShoalError(Reason.INTERNAL, "Something went wrong."), OPENAI)["error"]["param"] is None


@pytest.mark.parametrize("field", ["task", "history"])
def test_a_caller_of_openais_api_is_told_of_its_own_fields(field: str) -> None:
    assert body(ShoalError(Reason.FIELD_INVALID, "No.", field=field), OPENAI)["error"]["param"] == "messages"
    assert body(ShoalError(Reason.FIELD_INVALID, "No.", field=field), NATIVE)["field"] == field


@pytest.mark.parametrize("path", ["/", "/v1", "/v10/models", "/api/v1/models", "/V1/models"])
def test_only_paths_under_v1_are_answered_in_openais_shape(path: str) -> None:
    assert body(ShoalError(Reason.PATH_NOT_FOUND, "Nothing here."), path)["reason"] == Reason.PATH_NOT_FOUND


@pytest.mark.parametrize("error", ENVOY_ERRORS, ids=lambda error: str(error.reason))
def test_envoys_own_errors_look_like_ours(error: Any) -> None:
    ours = ShoalError(Reason[error.reason], error.message)
    assert error.code == ours.code
    assert body(ours, OPENAI)["error"]["type"] == error.openai_type


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.73, "1"), (1.0, "1"), (1.01, "2"), (60.0, "60")])
def test_retry_after_is_in_whole_seconds_and_at_least_one(seconds: float, header: str) -> None:
    error = ShoalError(Reason.RATE_LIMITED, "Wait.", retry_after_seconds=seconds)
    response = problems.response(error, path=NATIVE, request_id="request-1")
    assert (response.status_code, response.headers["retry-after"]) == (429, header)


@pytest.mark.parametrize("reason", Reason)
def test_no_error_may_be_kept_by_a_cache(reason: Reason) -> None:
    response = problems.response(ShoalError(reason, "No."), path=NATIVE, request_id="request-1")
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("reason", Reason)
def test_clients_are_told_not_to_try_again_only_for_what_is_not_cached(reason: Reason) -> None:
    response = problems.response(ShoalError(reason, "No."), path=OPENAI, request_id="request-1")
    assert response.headers.get("x-should-retry") == ("false" if reason is Reason.NOT_CACHED else None)


def test_an_answer_is_the_body_with_its_status() -> None:
    error = ShoalError(Reason.SESSION_NOT_FOUND, "There is no session.", field="session_id")
    response = problems.response(error, path=NATIVE, request_id="request-1")
    assert (response.status_code, response.media_type) == (404, "application/json")
    assert response.body == problems.body(error, path=NATIVE, request_id="request-1")
    assert "retry-after" not in response.headers
