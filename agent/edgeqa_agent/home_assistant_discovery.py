"""The message that makes a device with its entities in Home Assistant.

One message for the whole device, as Home Assistant takes it from version 2024.11 on.

Source: https://www.home-assistant.io/integrations/mqtt, "Device discovery payload"; device classes,
units and state classes: https://developers.home-assistant.io/docs/core/entity/sensor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edgeqa.home_assistant_messages import MAX_STATE_CHARS
from edgeqa.messages import Hardware
from edgeqa.topics import DeviceTopics

# Begins the id of every question from Home Assistant, so that its answer is known. What follows
# makes each of them new: the same question may have another answer once the text has changed.
ID_PREFIX = "home-assistant-"
ID_TEMPLATE = ID_PREFIX + "{{ now().timestamp() }}"

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a device.

    Attributes:
        device: its id.
        version: of EdgeQA.
        hardware: it runs on.
        context_id: the stored text that is asked about; None: nothing is asked from there.
        evaluates: whether it ever has an EM and F1.
        has_temperature: whether it has a sensor for it.
    """

    device: str
    version: str
    hardware: Hardware
    context_id: str | None
    evaluates: bool
    has_temperature: bool

    @property
    def identifier(self) -> str:
        """Of the device in Home Assistant."""
        return f"edgeqa_{self.device}"


def discovery_topic(prefix: str, device: str) -> str:
    """Where the message is retained; an empty one there removes the device."""
    return f"{prefix}/device/edgeqa/{device}/config"


def discovery_payload(shown: Shown) -> bytes:
    """The message."""
    topics = DeviceTopics(shown.device)
    payload = {
        "device": {
            "identifiers": [shown.identifier],
            "name": f"EdgeQA {shown.device}",
            "manufacturer": "EdgeQA",
            "model": shown.hardware.board or shown.hardware.machine,
            "sw_version": shown.version,
        },
        "origin": {"name": "EdgeQA", "sw_version": shown.version},
        "availability": [
            {
                "topic": topics.status,
                "value_template": "{{ value_json.status }}",
                "payload_available": "online",
                "payload_not_available": "offline",
            }
        ],
        "components": {
            key: {"unique_id": f"{shown.identifier}_{key}", **entity}
            for key, entity in _entities(shown, topics).items()
        },
    }
    return json.dumps(payload, ensure_ascii=False).encode()


def _entities(shown: Shown, topics: DeviceTopics) -> dict[str, Entity]:
    figures: dict[str, Entity] = {}
    if shown.evaluates:
        figures["exact_match"] = _percent("EM", "mdi:check-decagram-outline")
        figures["f1"] = _percent("F1", "mdi:chart-bell-curve")
    figures["latency_p95_ms"] = {
        "name": "Latency p95",
        "device_class": "duration",
        "unit_of_measurement": "ms",
        "state_class": "measurement",
        "suggested_display_precision": 0,
    }
    if shown.has_temperature:
        figures["temperature_celsius"] = {
            "name": "CPU temperature",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
            "suggested_display_precision": 1,
            "entity_category": "diagnostic",
        }
    figures["memory_mib"] = {
        "name": "Memory",
        "device_class": "data_size",
        "unit_of_measurement": "MiB",
        "state_class": "measurement",
        "suggested_display_precision": 0,
        "entity_category": "diagnostic",
    }
    figures["answered"] = {
        "name": "Questions answered",
        "icon": "mdi:counter",
        "unit_of_measurement": "questions",
        "state_class": "total_increasing",
    }
    figures["model"] = {
        "name": "Model",
        "icon": "mdi:brain",
        "entity_category": "diagnostic",
    }
    entities = {key: _figure(topics, key, entity) for key, entity in figures.items()}
    if shown.context_id is not None:
        entities |= {"question": _question(topics, shown.context_id), "answer": _answer(topics)}
    return entities


def _percent(name: str, icon: str) -> Entity:
    return {
        "name": name,
        "icon": icon,
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "suggested_display_precision": 1,
    }


def _figure(topics: DeviceTopics, key: str, entity: Entity) -> Entity:
    return {
        "platform": "sensor",
        "state_topic": topics.home_state,
        "value_template": f"{{{{ value_json.{key} }}}}",
        "qos": 1,
        **entity,
    }


def _question(topics: DeviceTopics, context_id: str) -> Entity:
    """A field whose text is published as an ordinary question."""
    fields = f'"id": "{ID_TEMPLATE}", "question": {{{{ value | tojson }}}}'
    return {
        "platform": "text",
        "name": "Question",
        "icon": "mdi:help-circle-outline",
        "command_topic": topics.ask,
        "command_template": f'{{"schema": 1, {fields}, "context_id": "{context_id}"}}',
        "state_topic": topics.home_answer,
        "value_template": f"{{{{ value_json.attributes.question[:{MAX_STATE_CHARS}] }}}}",
        # An empty one is refused by the agent, with a reason that is shown; Home Assistant strips
        # what it shows, so that a question of blanks would be shorter than any other minimum.
        "min": 0,
        "max": MAX_STATE_CHARS,
        "qos": 1,
    }


def _answer(topics: DeviceTopics) -> Entity:
    return {
        "platform": "sensor",
        "name": "Answer",
        "icon": "mdi:message-reply-text-outline",
        "state_topic": topics.home_answer,
        "value_template": "{{ value_json.answer }}",
        "json_attributes_topic": topics.home_answer,
        "json_attributes_template": "{{ value_json.attributes | tojson }}",
        # An automation sees also an answer that is the same as the one before.
        "force_update": True,
        "qos": 1,
    }
