"""The MQTT contract as an AsyncAPI 3.0 document, generated from topics, messages and codes.

`python -m edgeqa.asyncapi > docs/asyncapi.yaml`; a test keeps the file up to date.
"""

from __future__ import annotations

import sys
from typing import Any

from edgeqa.asyncapi_messages import messages, schemas
from edgeqa.identity.roles import PORTS
from edgeqa.messages import SCHEMA
from edgeqa.model_messages import Verb
from edgeqa.telemetry_messages import RecordKind
from edgeqa.topics import NAME_PATTERN, DeviceTopics, client_answers, group_ask, group_ask_filter

# https://github.com/asyncapi/bindings/tree/master/mqtt: the version of the MQTT bindings.
_BINDING_VERSION = "0.2.0"


def build_document() -> dict[str, Any]:
    """The whole document as plain data."""
    device = DeviceTopics("{device}")
    return {
        "asyncapi": "3.0.0",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": {
            "plain": {"host": "localhost:1883", "protocol": "mqtt", "protocolVersion": "5.0"},
            **{
                role.value: {
                    "host": f"localhost:{port}",
                    "protocol": "secure-mqtt",
                    "protocolVersion": "5.0",
                    "description": f"For the role `{role}`, with a certificate of its authority.",
                    "security": [{"type": "X509"}],
                }
                for role, port in PORTS.items()
            },
        },
        "channels": {
            "deviceAsk": _channel(device.ask, "Questions to one device.", ["ask"], ["device"]),
            "groupAsk": _channel(
                group_ask("{group}"),
                "Questions to any one agent of a group. The agents share the subscription "
                f"`{group_ask_filter('{group}')}`.",
                ["ask"],
                ["group"],
            ),
            "reply": _channel(
                None,
                "The MQTT 5 Response Topic of the question or command. EdgeQA's own clients use "
                f"`{client_answers('{client}')}`, and a client that the broker knows as a user "
                "`edgeqa/v1/clients/{user}/{client}/answers`.",
                ["answer", "commandReply"],
                [],
            ),
            "deviceAnswers": _channel(
                device.answers,
                "Answers to questions without a Response Topic, for MQTT 3.1.1 clients: tell "
                "them apart by `id`. Replies to such commands come here too.",
                ["answer", "commandReply"],
                ["device"],
            ),
            "deviceContexts": _channel(
                device.context("{contextId}"),
                "A text that questions may name by `context_id`. Retained; an empty payload "
                "deletes it.",
                ["context"],
                ["device", "contextId"],
            ),
            "deviceStatus": _channel(
                device.status,
                "Presence: published by the agent as birth and farewell, by the broker as will.",
                ["status"],
                ["device"],
            ),
            "deviceDesired": _channel(
                device.desired,
                "The model that the device shall run. Retained: a device that is offline follows "
                "the wish when it is back; the newest wish wins, also over one under way. An empty "
                "payload takes the wish back.",
                ["desired"],
                ["device"],
            ),
            "deviceReported": _channel(
                device.reported,
                "Where the device stands with its wish, and which model answers. Retained, and "
                "published at each change.",
                ["reported"],
                ["device"],
            ),
            "deviceCommands": _channel(
                device.command("{verb}"),
                "Orders, obeyed once, in time, or refused with a reply. Never retain one.",
                ["command", "resendCommand", "evaluateCommand"],
                ["device", "verb"],
            ),
            "deviceCertificateRequest": _channel(
                device.certificate_request,
                "The device asks for its next certificate, for a new key of its own.",
                ["certificateRequest"],
                ["device"],
            ),
            "deviceCertificateIssued": _channel(
                device.certificate_issued,
                "The cloud's reply: the certificate, or why there is none.",
                ["certificateIssued"],
                ["device"],
            ),
            "deviceHomeState": _channel(
                device.home_state,
                "The device's figures for Home Assistant, where that is switched on. Retained.",
                ["homeState"],
                ["device"],
            ),
            "deviceHomeAnswer": _channel(
                device.home_answer,
                "The last answer to a question from Home Assistant. Retained.",
                ["homeAnswer"],
                ["device"],
            ),
            **_records(device),
        },
        "operations": {
            "takeQuestion": _operation("receive", "deviceAsk", reply="answer"),
            "takeGroupQuestion": _operation("receive", "groupAsk", reply="answer"),
            "answerPlainly": _operation("send", "deviceAnswers"),
            "storeContext": _operation("receive", "deviceContexts", retain=True),
            "tellStatus": _operation("send", "deviceStatus", retain=True),
            "followWish": _operation("receive", "deviceDesired", retain=True),
            "reportModel": _operation("send", "deviceReported", retain=True),
            "beat": _operation("send", "deviceHeartbeat"),
            "tellTelemetry": _operation("send", "deviceTelemetry"),
            "tellEvaluation": _operation("send", "deviceEvaluation"),
            "tellSwap": _operation("send", "deviceSwap"),
            "askForCertificate": _operation("send", "deviceCertificateRequest"),
            "takeCertificate": _operation("receive", "deviceCertificateIssued"),
            "showHomeState": _operation("send", "deviceHomeState", retain=True),
            "showHomeAnswer": _operation("send", "deviceHomeAnswer", retain=True),
            "obeyCommand": _operation("receive", "deviceCommands", reply="commandReply"),
        },
        "components": {
            "parameters": {
                "device": _parameter("Id of a device"),
                "group": _parameter("Id of a group"),
                "contextId": _parameter("Id of a stored text"),
                "verb": {"description": "What to do.", "enum": [str(verb) for verb in Verb]},
            },
            "correlationIds": {
                "correlation": {
                    "description": "MQTT 5 Correlation Data.",
                    "location": "$message.header#/correlationData",
                }
            },
            "messages": messages(),
            "schemas": schemas(),
        },
    }


def _records(device: DeviceTopics) -> dict[str, Any]:
    outboxed = (
        "A record of the device's outbox: numbered by `seq` within `boot_id`, sent in order, again "
        "if need be."
    )
    return {
        "deviceHeartbeat": _channel(
            device.heartbeat,
            "Sent at each connect and at an even pace; says which records the broker has.",
            ["heartbeat"],
            ["device"],
        ),
        **{
            f"device{kind.capitalize()}": _channel(
                device.record(kind), outboxed, [str(kind)], ["device"]
            )
            for kind in RecordKind
        },
    }


def render() -> str:
    """The document as YAML."""
    import yaml  # noqa: PLC0415  only developers generate this

    class Plain(yaml.SafeDumper):
        """Without anchors, which many readers of AsyncAPI do not follow."""

        def ignore_aliases(self, data: Any) -> bool:
            del data
            return True

    text = yaml.dump(build_document(), Dumper=Plain, sort_keys=False, allow_unicode=True, width=100)
    return "# Generated by `python -m edgeqa.asyncapi > docs/asyncapi.yaml`.\n" + str(text)


def _info() -> dict[str, Any]:
    return {
        "title": "EdgeQA",
        "version": f"{SCHEMA}.0.0",
        "description": (
            "Questions and answers over MQTT, and the models that give them, from the point of "
            "view of an agent. Everything is published and subscribed at QoS 1. JSON is UTF-8; "
            "readers ignore fields that they do not know; every message says its `schema`. Offsets "
            "are Unicode code points, end exclusive. MQTT 3.1.1 clients ask without properties and "
            "read the answers topic."
        ),
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    }


def _channel(
    address: str | None, description: str, messages: list[str], parameters: list[str]
) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if parameters:
        channel["parameters"] = {
            name: {"$ref": f"#/components/parameters/{name}"} for name in parameters
        }
    return channel


def _operation(
    action: str, channel: str, *, reply: str | None = None, retain: bool = False
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "bindings": {"mqtt": {"qos": 1, "retain": retain, "bindingVersion": _BINDING_VERSION}},
    }
    if reply is not None:
        operation["reply"] = {
            "address": {
                "description": "MQTT 5 Response Topic.",
                "location": "$message.header#/responseTopic",
            },
            "channel": {"$ref": "#/channels/reply"},
            "messages": [{"$ref": f"#/channels/reply/messages/{reply}"}],
        }
    return operation


def _parameter(what: str) -> dict[str, Any]:
    return {"description": f"{what}: `{NAME_PATTERN}`."}


if __name__ == "__main__":
    sys.stdout.write(render())
