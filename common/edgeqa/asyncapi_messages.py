"""The messages of the AsyncAPI document, with their schemas and examples."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from edgeqa.certificate_examples import REPLIES, REQUESTS
from edgeqa.certificate_messages import CertificateIssued, CertificateRequest
from edgeqa.codes import CODES
from edgeqa.contract_examples import (
    ANSWERS,
    ASKS,
    COMMAND_REPLIES,
    COMMANDS,
    REPORTS,
    STATUSES,
    WISHES,
)
from edgeqa.error_code import Where
from edgeqa.home_assistant_examples import HOME_ANSWERS, HOME_STATES
from edgeqa.home_assistant_messages import HomeAnswer, HomeState
from edgeqa.messages import Answer, Ask, Status
from edgeqa.model_messages import Command, CommandReply, Desired, Reported
from edgeqa.telemetry_examples import EVALUATE, EVALUATIONS, HEARTBEATS, RESEND, SWAPS, TELEMETRY
from edgeqa.telemetry_messages import (
    EvaluateCommand,
    Evaluation,
    Heartbeat,
    ResendCommand,
    SwapReport,
    Telemetry,
)

_CORRELATION = {
    "type": "string",
    "description": "Any bytes; they come back with the answer, and make a repeat harmless.",
}
_MQTT_PROPERTIES = {
    "type": "object",
    "description": "MQTT 5 properties of the PUBLISH packet.",
    "properties": {
        "responseTopic": {
            "type": "string",
            "description": "Where to answer. Without it the answer goes to the answers topic of "
            "the device. No wildcards; inside `edgeqa/` it must end in `/answers`.",
        },
        "correlationData": _CORRELATION,
        "messageExpiryInterval": {
            "type": "integer",
            "description": "Seconds after which nobody wants the answer any more.",
        },
    },
}
_REPLY_PROPERTIES = {"type": "object", "properties": {"correlationData": _CORRELATION}}


def messages() -> dict[str, Any]:
    """The messages by name."""
    correlation = {"$ref": "#/components/correlationIds/correlation"}
    return {
        "ask": {
            "summary": "A question, or a batch of them.",
            "headers": _MQTT_PROPERTIES,
            "correlationId": correlation,
            "payload": {"$ref": "#/components/schemas/Ask"},
            "examples": _examples(ASKS),
        },
        "answer": {
            "summary": "The reply: answers, or why there are none.",
            "headers": _REPLY_PROPERTIES,
            "correlationId": correlation,
            "payload": {"$ref": "#/components/schemas/Answer"},
            "examples": _examples(ANSWERS),
        },
        "context": {
            "summary": "A stored text.",
            "contentType": "text/plain",
            "payload": {"type": "string", "description": "UTF-8; empty deletes."},
        },
        "status": {
            "summary": "Presence.",
            "payload": {"$ref": "#/components/schemas/Status"},
            "examples": _examples(STATUSES),
        },
        "desired": {
            "summary": "The wish for a model.",
            "payload": {"$ref": "#/components/schemas/Desired"},
            "examples": _examples(WISHES),
        },
        "reported": {
            "summary": "Where a device stands with a wish, and which model answers.",
            "payload": {"$ref": "#/components/schemas/Reported"},
            "examples": _examples(REPORTS),
        },
        "command": {
            "summary": "An order; its verb stands in the topic.",
            "headers": _MQTT_PROPERTIES,
            "correlationId": correlation,
            "payload": {"$ref": "#/components/schemas/Command"},
            "examples": _examples(COMMANDS),
        },
        "resendCommand": {
            "summary": "`commands/resend`: records that did not arrive.",
            "headers": _MQTT_PROPERTIES,
            "correlationId": correlation,
            "payload": {"$ref": "#/components/schemas/ResendCommand"},
            "examples": _examples(RESEND),
        },
        "evaluateCommand": {
            "summary": "`commands/evaluate`: evaluate the model now.",
            "headers": _MQTT_PROPERTIES,
            "correlationId": correlation,
            "payload": {"$ref": "#/components/schemas/EvaluateCommand"},
            "examples": _examples(EVALUATE),
        },
        "heartbeat": {
            "summary": "The device is there, and what it has told so far.",
            "payload": {"$ref": "#/components/schemas/Heartbeat"},
            "examples": _examples(HEARTBEATS),
        },
        "telemetry": {
            "summary": "How the device served since the record before.",
            "payload": {"$ref": "#/components/schemas/Telemetry"},
            "examples": _examples(TELEMETRY),
        },
        "evaluation": {
            "summary": "What its model scored on a slice of an evaluation set. One that a command "
            "ordered comes at once too, with the command's `id` as Correlation Data; where it "
            "comes to nothing, a reply on the answers topic says why.",
            "headers": _REPLY_PROPERTIES,
            "correlationId": correlation,
            "payload": {"$ref": "#/components/schemas/Evaluation"},
            "examples": _examples(EVALUATIONS),
        },
        "swap": {
            "summary": "How a wish ended, or that a model was left.",
            "payload": {"$ref": "#/components/schemas/SwapReport"},
            "examples": _examples(SWAPS),
        },
        "certificateRequest": {
            "summary": "A certificate signing request.",
            "payload": {"$ref": "#/components/schemas/CertificateRequest"},
            "examples": _examples(REQUESTS),
        },
        "certificateIssued": {
            "summary": "A certificate, or why there is none.",
            "payload": {"$ref": "#/components/schemas/CertificateIssued"},
            "examples": _examples(REPLIES),
        },
        "homeState": {
            "summary": "Figures of a device for Home Assistant.",
            "payload": {"$ref": "#/components/schemas/HomeState"},
            "examples": _examples(HOME_STATES),
        },
        "homeAnswer": {
            "summary": "Question and answer together, for Home Assistant.",
            "payload": {"$ref": "#/components/schemas/HomeAnswer"},
            "examples": _examples(HOME_ANSWERS),
        },
        "commandReply": {
            "summary": "What came of a command.",
            "headers": _REPLY_PROPERTIES,
            "correlationId": correlation,
            "payload": {"$ref": "#/components/schemas/CommandReply"},
            "examples": _examples(COMMAND_REPLIES),
        },
    }


def _examples(examples: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "payload": payload} for name, payload in examples.items()]


def schemas() -> dict[str, Any]:
    """The schemas of their payloads, and of what these hold."""
    _, schema = models_json_schema(
        [
            (Ask, "validation"),
            (Answer, "serialization"),
            (Status, "serialization"),
            (Desired, "validation"),
            (Reported, "serialization"),
            (Command, "validation"),
            (CommandReply, "serialization"),
            (ResendCommand, "validation"),
            (EvaluateCommand, "validation"),
            (Heartbeat, "serialization"),
            (Telemetry, "serialization"),
            (Evaluation, "serialization"),
            (SwapReport, "serialization"),
            (CertificateRequest, "serialization"),
            (CertificateIssued, "validation"),
            (HomeState, "serialization"),
            (HomeAnswer, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = schema["$defs"]
    schemas["Fault"]["x-error-codes"] = [
        {
            "code": c.slug,
            "where": str(c.where),
            "meaning": c.meaning,
            "action": c.action,
            "retry": c.retry,
        }
        for c in CODES
        if c.where in {Where.ANSWER, Where.SWAP}
    ]
    return schemas
