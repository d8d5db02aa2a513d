"""The API's description: `python -m edgeqa_cloud.api.openapi > docs/openapi.json`.

FastAPI makes it from the endpoints; added is what it cannot know: that errors are
`application/problem+json`, which of them any endpoint may give, and what a page's headers are.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from edgeqa_cloud.api.problems import MEDIA_TYPE, ProblemView

if TYPE_CHECKING:
    from edgeqa_cloud.api.parts import Console

ABOUT = (
    "The fleet, what it measured, and rollouts. See docs/api.md. Times end in `_ms`: milliseconds "
    "since 1970 by the cloud's clock; EM and F1 are percent; what is not known is null."
)
TAGS: list[dict[str, Any]] = [
    {"name": "fleet", "description": "The fleet in figures."},
    {"name": "devices", "description": "Devices, what they measured, and what happened to them."},
    {"name": "evaluations", "description": "EM and F1 that devices measured themselves."},
    {"name": "rollouts", "description": "Changing models in stages."},
    {"name": "packages", "description": "What the signed repository offers."},
    {"name": "tags", "description": "Names that operators give to devices."},
    {"name": "audit", "description": "What was decided and ordered."},
    {"name": "events", "description": "What changes, as it changes."},
    {"name": "session", "description": "Who asks."},
    {"name": "access", "description": "Who has access; for admins."},
    {"name": "health", "description": "Whether this process can answer."},
]
_WORDS = {
    "400": "What was sent cannot be read.",
    "401": "Nobody that is known: no token, or one that ended.",
    "403": "The role does not cover this, or another site's page sent it.",
    "404": "There is no such thing.",
    "409": "It cannot be done as things are, or the same call is under way.",
    "412": "It changed since it was looked at (`If-Match`).",
    "413": "The body is too large.",
    "415": "The body is no JSON.",
    "421": "This server is not known by that host name.",
    "422": "Something in the request is wrong; `detail` and `errors` say what.",
    "429": "Too many tries; `Retry-After` says when again.",
    "502": "The device refused the question; `code` is its own.",
    "503": "The database or the broker is away; nothing was done. Try again.",
    "504": "No answer from the device in time.",
}
_ANY = ("422", "503")
_KNOWN = ("401", "421")
_CHANGES = ("400", "409", "413", "415")
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and request again is answered as the first was; kept 24 h.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "An ETag of this address: 304 where nothing changed.",
    "schema": {"type": "string", "maxLength": 1000, "pattern": "^[ -~]+$"},
}


def described(app: FastAPI) -> dict[str, Any]:
    """The description; made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            tags=app.openapi_tags,
        )  # fmt: skip
        for path, operations in made["paths"].items():
            for method, operation in operations.items():
                _complete(path, method, operation)
        schemas = made["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["ProblemView"] = problem
        app.openapi_schema = made
    return app.openapi_schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    open_to_all = operation.get("security") == []
    changes = method != "get"
    responses = operation["responses"]
    for status in (*_ANY, *(() if open_to_all else _KNOWN), *(_CHANGES if changes else ())):
        responses.setdefault(status, {})
    for status in sorted(responses):
        if status >= "400":
            responses[status] = {
                "description": _WORDS[status],
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemView"}}},
            }
    operation["responses"] = {status: responses[status] for status in sorted(responses)}
    if changes and not path.startswith(("/api/v1/session", "/api/v1/tokens", "/api/v1/users")):
        operation.setdefault("parameters", []).append(_KEY)
    if not changes and "application/json" in responses["200"].get("content", {}):
        responses["200"]["headers"] = {"ETag": {"schema": {"type": "string"}}}
        operation["responses"]["304"] = {"description": "What `If-None-Match` names is current."}
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)


def description() -> dict[str, Any]:
    """Of all endpoints, with nothing behind them."""
    from types import SimpleNamespace  # noqa: PLC0415  here alone

    from edgeqa_cloud.api.app import build_app  # noqa: PLC0415  it imports this

    nothing = SimpleNamespace(settings=SimpleNamespace(public_url=None), database=None,
                              now_ms=None, log=None)  # fmt: skip
    return described(build_app(cast("Console", nothing)))


def main() -> None:
    """Print it."""
    sys.stdout.write(json.dumps(description(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
