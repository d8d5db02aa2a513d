"""The REST API's client for `edgeqa rollout`: requests, and errors that say what to do."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from edgeqa.errors import ConfigError, EdgeqaError, ExitCode
from edgeqa_cloud.api_settings import ApiSettings, authorities, read_token, token_source
from edgeqa_cloud.rollout.refusals import UnknownRolloutError
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.rollout.states import Action
from edgeqa_cloud.rollout.views import (
    AuditPage,
    MemberPage,
    OrderView,
    Plan,
    RolloutPage,
    RolloutView,
)
from edgeqa_cloud.words import SENTENCE_CHARS, said

ViewT = TypeVar("ViewT", bound=BaseModel)
Query = Mapping[str, Any]

ROOT = "/api/v1"
# The same request again where the connection broke: it carries a key, so it is done once.
_TRIES = 3
_UNDER_WAY_TRIES = 20
_UNDER_WAY_PAUSE_S = 0.5
# Of a package that cannot be rolled out: other commands end with 5 then, too.
_PACKAGE = frozenset({"unknown_package", "wrong_digest"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ApiError(EdgeqaError):
    """The API refused, or answers as none of ours."""

    code = "api_strange"
    exit_code = ExitCode.UNREACHABLE

    def __init__(self, message: str, *, code: str | None = None, exit_code: ExitCode) -> None:
        super().__init__(message, code=code)
        self.exit_code = exit_code


class ApiUnreachableError(EdgeqaError):
    """Nobody answers where the API should be."""

    code = "api_unreachable"
    exit_code = ExitCode.UNREACHABLE


class ApiClient:
    """Use it in a `with` block.

    Args:
        settings: where the API is, and the token.
        sleep: before a call that is under way is asked for again.

    Raises:
        ConfigError: the token or the authorities cannot be read.

    Thread: one at a time.
    """

    def __init__(
        self, *, settings: ApiSettings, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._sleep = sleep
        self._url = settings.url.rstrip("/")
        self._token_said = token_source(settings)
        self.http = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {read_token(settings)}"},
            timeout=settings.timeout_s,
            verify=authorities(settings),
            # A proxy of the environment is not asked for what is on this machine.
            trust_env=urlsplit(settings.url).hostname not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()

    def plan(self, spec: RolloutSpec) -> Plan:
        """Who would get what, and when."""
        return self._ask(Plan, "POST", "/rollouts/plan", body=_json(spec))

    def create(self, spec: RolloutSpec) -> RolloutView:
        """Begin a rollout; once, also where the connection breaks meanwhile."""
        return self._ask(RolloutView, "POST", "/rollouts", body=_json(spec), key=uuid.uuid4().hex)

    def list_rollouts(self, query: Query) -> RolloutPage:
        """A page of rollouts."""
        return self._ask(RolloutPage, "GET", "/rollouts", query=query)

    def show(self, rollout: str) -> RolloutView:
        """A rollout whole."""
        return self._ask(RolloutView, "GET", _path(rollout))

    def members(self, rollout: str, query: Query) -> MemberPage:
        """A page of its devices."""
        return self._ask(MemberPage, "GET", f"{_path(rollout)}/members", query=query)

    def audit(self, rollout: str | None, query: Query) -> AuditPage:
        """A page of the audit log: of a rollout, or whole."""
        path = "/audit" if rollout is None else f"{_path(rollout)}/audit"
        return self._ask(AuditPage, "GET", path, query=query)

    def order(
        self, rollout: str, action: Action, *, note: str, revision: int | None = None
    ) -> OrderView:
        """Order something of a rollout."""
        return self._ask(
            OrderView,
            "POST",
            f"{_path(rollout)}/{action.value}",
            body={"note": note},
            headers={} if revision is None else {"If-Match": f'"{revision}"'},
            key=uuid.uuid4().hex,
        )

    def _ask(
        self,
        view: type[ViewT],
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> ViewT:
        """One request.

        Raises:
            ApiUnreachableError: nobody answered.
            ApiError: refused.
        """
        request = self.http.build_request(
            method,
            ROOT + path,
            params={name: value for name, value in (query or {}).items() if value is not None},
            json=body,
            headers={**(headers or {}), **({} if key is None else {"Idempotency-Key": key})},
        )
        # A request that only reads, or that carries a key, may be sent again.
        response = self._send(request, tries=_TRIES if method == "GET" or key else 1)
        for _ in range(_UNDER_WAY_TRIES):
            if (_problem(response) or ("", ""))[0] != "under_way":
                break
            # The connection broke while the first one was done: its answer is not there yet.
            self._sleep(_UNDER_WAY_PAUSE_S)
            response = self._send(request, tries=_TRIES)
        if not response.is_success:
            raise self.refusal(response)
        try:
            return view.model_validate_json(response.content)
        except ValidationError as error:
            raise self._strange(response) from error

    def _send(self, request: httpx.Request, *, tries: int) -> httpx.Response:
        while True:
            tries -= 1
            try:
                return self.http.send(request)
            except httpx.TimeoutException as error:
                raise ApiUnreachableError(
                    f"no answer from {self._url} in time; see the log of `edgeqa cloud run`, or "
                    "allow more time with --timeout-s"
                ) from error
            except httpx.ConnectError as error:
                raise ApiUnreachableError(self._nobody(error)) from error
            except httpx.TransportError as error:
                if not tries:
                    raise ApiUnreachableError(
                        f"the connection to {self._url} broke: {_reason(error)}; try again"
                    ) from error

    def refusal(self, response: httpx.Response) -> EdgeqaError:
        """What a response that is no success means."""
        problem = _problem(response)
        if problem is None:
            return self._strange(response)
        code, detail = problem
        if code in _PACKAGE:
            return ApiError(detail, code=code, exit_code=ExitCode.REFUSED)
        match response.status_code:
            case httpx.codes.UNAUTHORIZED:
                return ConfigError(
                    f"{detail}; the token is that of {self._token_said}. Make another: edgeqa "
                    "cloud token create NAME --role operator",
                    code=code,
                )
            case httpx.codes.FORBIDDEN | httpx.codes.CONFLICT | httpx.codes.PRECONDITION_FAILED:
                exit_code = ExitCode.REFUSED
            case status if status >= httpx.codes.INTERNAL_SERVER_ERROR:
                exit_code = ExitCode.UNREACHABLE
            case httpx.codes.TOO_MANY_REQUESTS:
                exit_code = ExitCode.UNREACHABLE
            case _:
                exit_code = ExitCode.USAGE
        return ApiError(detail, code=code, exit_code=exit_code)

    def _nobody(self, error: httpx.ConnectError) -> str:
        return (
            f"no API at {self._url}: {_reason(error)}; start it with `edgeqa cloud run`, or name "
            "another with --url or EDGEQA_API_URL"
        )

    def _strange(self, response: httpx.Response) -> ApiError:
        return ApiError(
            f"{self._url} answers {response.status_code} and not as the API of this version; "
            "check --url, and that both sides have the same version",
            exit_code=ExitCode.UNREACHABLE,
        )


def _path(rollout: str) -> str:
    if not _ID.match(rollout):
        raise UnknownRolloutError(rollout)
    return f"/rollouts/{rollout}"


def _json(spec: RolloutSpec) -> Any:
    return spec.model_dump(mode="json")


def _problem(response: httpx.Response) -> tuple[str, str] | None:
    """Code and detail of a problem (RFC 9457); None if it is none of ours."""
    if response.is_success:
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        return None
    detail = body.get("detail") or body.get("title") or body["code"]
    return said(body["code"], most=64), said(str(detail), most=SENTENCE_CHARS)


def _reason(error: Exception) -> str:
    return said(str(error)) if str(error) else type(error).__name__
