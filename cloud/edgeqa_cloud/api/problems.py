"""Errors of the API: `application/problem+json` with a stable `code` (RFC 9457).

A typed error of ours becomes the status that its code or its class stands for; an unexpected one is
logged, and told without a word of what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from edgeqa.errors import (
    AnswerError,
    AnswerTimeoutError,
    BrokerError,
    ConfigError,
    EdgeqaError,
    PayloadError,
    UsageError,
)
from edgeqa_cloud.database import DatabaseError

MEDIA_TYPE = "application/problem+json"
# What is asked again so soon is likely to find the database, or the broker, back.
RETRY_AFTER_S = 5
CHALLENGE = 'Bearer realm="edgeqa"'
DATABASE_AWAY = (
    "the cloud cannot reach its database, so nothing was changed; devices go on answering, and "
    "what they measure waits at the broker. Check the database and the log of `edgeqa cloud run`, "
    "then try again"
)


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    where: list[str | int] = Field(description="`body`, `query`, `path` or `header`, then names.")
    message: str
    type: str = Field(description="Of the rule that is broken.")


class ProblemView(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`about:blank`: the status says what kind of error it is.")
    title: str = Field(description="Of the status.")
    status: int
    code: str = Field(description="Stable, for programs: see docs/errors.md.")
    detail: str = Field(description="For people: what is wrong and what to do.")
    errors: list[FieldProblem] | None = Field(
        default=None, description="Of `invalid_request`: each part that is wrong."
    )


class Problem(HTTPException):
    """An error with a status, a code and what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(status, detail, headers=dict(headers or {}))
        self.code = code
        self.more = more


def respond(problem: Problem) -> Response:
    """The answer."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": HTTPStatus(problem.status_code).phrase,
            "status": problem.status_code,
            "code": problem.code,
            "detail": problem.detail,
            **problem.more,
        },
        status_code=problem.status_code,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def database_away() -> Problem:
    """The database does not answer, or not in time."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        DatabaseError.code,
        DATABASE_AWAY,
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def problem_of(error: EdgeqaError) -> Problem:
    """What an error of ours is at the API."""
    if isinstance(error, DatabaseError):
        return database_away()
    status = _BY_CODE.get(error.code) or next(
        (status for kind, status in _BY_CLASS if isinstance(error, kind)),
        HTTPStatus.UNPROCESSABLE_ENTITY,
    )
    headers = {}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    return Problem(status, error.code, str(error), headers=headers)


_BY_CODE: Mapping[str, HTTPStatus] = {
    "bad_login": HTTPStatus.UNAUTHORIZED,
    "unknown_rollout": HTTPStatus.NOT_FOUND,
    "unknown_device": HTTPStatus.NOT_FOUND,
    "unknown_account": HTTPStatus.NOT_FOUND,
    "changed_meanwhile": HTTPStatus.PRECONDITION_FAILED,
    "order_refused": HTTPStatus.CONFLICT,
    "account_exists": HTTPStatus.CONFLICT,
    "too_many_alike": HTTPStatus.CONFLICT,
    "too_many_orders": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_pending": HTTPStatus.SERVICE_UNAVAILABLE,
    "repository_unread": HTTPStatus.CONFLICT,
    "repository_expired": HTTPStatus.CONFLICT,
    "no_agent": HTTPStatus.SERVICE_UNAVAILABLE,
    "busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "client_stopped": HTTPStatus.SERVICE_UNAVAILABLE,
}
_BY_CLASS: tuple[tuple[type[EdgeqaError], HTTPStatus], ...] = (
    (AnswerTimeoutError, HTTPStatus.GATEWAY_TIMEOUT),
    (BrokerError, HTTPStatus.SERVICE_UNAVAILABLE),
    (PayloadError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (AnswerError, HTTPStatus.BAD_GATEWAY),
    (UsageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ConfigError, HTTPStatus.UNPROCESSABLE_ENTITY),
)
