"""docs/asyncapi.yaml is up to date and a sound AsyncAPI 3.0 document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeqa import (
    certificate_examples,
    contract_examples,
    home_assistant_examples,
    telemetry_examples,
)
from edgeqa.asyncapi import build_document, render
from edgeqa.certificate_messages import CertificateIssued, CertificateRequest
from edgeqa.home_assistant_messages import HomeAnswer, HomeState
from edgeqa.messages import Answer, Ask, Status, Wire, parse_payload
from edgeqa.model_messages import Command, CommandReply, Desired, ModelState, Reported, Verb
from edgeqa.telemetry_messages import (
    RECORDS,
    EvaluateCommand,
    Evaluation,
    Heartbeat,
    ResendCommand,
    SwapReport,
    Telemetry,
)

ROOT = Path(__file__).parents[2]

# AsyncAPI 3.0.0 specification: the fixed fields of each object; `x-` extensions are allowed.
FIELDS = {
    "root": {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations",
             "components"},
    "server": {"host", "protocol", "protocolVersion", "pathname", "description", "title",
               "summary", "variables", "security", "tags", "externalDocs", "bindings"},
    "channel": {"address", "messages", "title", "summary", "description", "servers", "parameters",
                "tags", "externalDocs", "bindings"},
    "operation": {"action", "channel", "title", "summary", "description", "security", "tags",
                  "externalDocs", "bindings", "traits", "messages", "reply"},
    "message": {"headers", "payload", "correlationId", "contentType", "name", "title", "summary",
                "description", "tags", "externalDocs", "bindings", "examples", "traits"},
    "parameter": {"enum", "default", "description", "examples", "location"},
    "components": {"schemas", "servers", "channels", "operations", "messages", "securitySchemes",
                   "serverVariables", "parameters", "correlationIds", "replies", "replyAddresses",
                   "externalDocs", "tags", "operationTraits", "messageTraits", "serverBindings",
                   "channelBindings", "operationBindings", "messageBindings"},
    "mqtt operation binding": {"qos", "retain", "messageExpiryInterval", "bindingVersion"},
}  # fmt: skip


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document()


def refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


def resolve(document: dict[str, Any], ref: str) -> Any:
    assert ref.startswith("#/"), ref
    node: Any = document
    for part in ref[2:].split("/"):
        node = node[part]
    return node


def test_the_file_is_up_to_date() -> None:
    text = (ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8")
    assert text == render(), "run: python -m edgeqa.asyncapi > docs/asyncapi.yaml"
    assert yaml.safe_load(text) == build_document()


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    found = set(refs(document))
    assert found
    for ref in found:
        assert isinstance(resolve(document, ref), dict)


def test_every_object_has_only_the_fields_of_the_specification(document: dict[str, Any]) -> None:
    components = document["components"]
    groups = {
        "root": [document],
        "server": document["servers"].values(),
        "channel": document["channels"].values(),
        "operation": document["operations"].values(),
        "message": components["messages"].values(),
        "parameter": components["parameters"].values(),
        "components": [components],
        "mqtt operation binding": [
            operation["bindings"]["mqtt"] for operation in document["operations"].values()
        ],
    }
    for kind, objects in groups.items():
        for one in objects:
            assert {f for f in one if not f.startswith("x-")} <= FIELDS[kind], kind
    assert {"title", "version"} <= set(document["info"])
    assert document["asyncapi"] == "3.0.0"


def test_parameters_are_those_in_the_addresses(document: dict[str, Any]) -> None:
    for channel in document["channels"].values():
        address = channel["address"] or ""
        assert {f"{{{name}}}" for name in channel.get("parameters", {})} == {
            level for level in address.split("/") if level.startswith("{")
        }


def test_operations_reply_where_the_specification_allows(document: dict[str, Any]) -> None:
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert operation["bindings"]["mqtt"]["qos"] == 1
        if "reply" in operation:
            # A reply with a dynamic address needs a channel without one.
            channel = operation["reply"]["channel"]["$ref"]
            assert resolve(document, channel)["address"] is None
            for message in operation["reply"]["messages"]:
                assert message["$ref"].startswith(f"{channel}/messages/")


@pytest.mark.parametrize(
    ("kind", "examples"),
    [
        (Ask, contract_examples.ASKS),
        (Answer, contract_examples.ANSWERS),
        (Status, contract_examples.STATUSES),
        (Desired, contract_examples.WISHES),
        (Reported, contract_examples.REPORTS),
        (Command, contract_examples.COMMANDS),
        (CommandReply, contract_examples.COMMAND_REPLIES),
        (ResendCommand, telemetry_examples.RESEND),
        (EvaluateCommand, telemetry_examples.EVALUATE),
        (Heartbeat, telemetry_examples.HEARTBEATS),
        (Telemetry, telemetry_examples.TELEMETRY),
        (Evaluation, telemetry_examples.EVALUATIONS),
        (SwapReport, telemetry_examples.SWAPS),
        (CertificateRequest, certificate_examples.REQUESTS),
        (CertificateIssued, certificate_examples.REPLIES),
        (HomeState, home_assistant_examples.HOME_STATES),
        (HomeAnswer, home_assistant_examples.HOME_ANSWERS),
    ],
)
def test_examples_are_valid(kind: type[Wire], examples: dict[str, dict[str, Any]]) -> None:
    for example in examples.values():
        parsed = parse_payload(kind, json.dumps(example).encode())
        assert json.loads(parsed.to_json()) == example
        if isinstance(parsed, Ask):
            parsed.items()


def test_examples_fit_the_schemas(document: dict[str, Any]) -> None:
    """As a reader of the document checks them, without our models."""
    for name, message in document["components"]["messages"].items():
        if name == "context":
            continue
        schema = resolve(document, message["payload"]["$ref"])
        for example in message["examples"]:
            assert set(schema.get("required", [])) <= set(example["payload"]), name
            assert set(example["payload"]) <= set(schema["properties"]), name


def test_every_state_and_verb_is_in_the_document(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["ModelState"]["enum"] == [str(state) for state in ModelState]
    assert document["components"]["parameters"]["verb"]["enum"] == [str(verb) for verb in Verb]
    for topic in ("model/desired", "model/reported", "commands/{verb}", "heartbeat", *RECORDS):
        addresses = [str(one["address"]) for one in document["channels"].values()]
        assert any(address.endswith(topic) for address in addresses)


def test_an_examples_offsets_are_right() -> None:
    text = contract_examples.ASKS["question"]["context"]
    span = contract_examples.ANSWERS["answer"]["answers"][0]
    assert text[span["start"] : span["end"]] == span["text"]


def test_the_error_codes_are_listed(document: dict[str, Any]) -> None:
    codes = document["components"]["schemas"]["Fault"]["x-error-codes"]
    assert {"busy", "expired", "gate_latency", "disk_full"} <= {code["code"] for code in codes}
