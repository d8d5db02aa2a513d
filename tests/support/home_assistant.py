"""What Home Assistant does with a discovery message, as far as its documentation says it.

`check_discovery` is strict where Home Assistant is lenient: it drops keys that it does not know,
and here they are errors. Sources: the pages of the MQTT integration, its sensor and its text; the
sensor entity's page for developers; and `TOPIC_MATCHER`, `DEVICE_DISCOVERY_SCHEMA`,
`DEVICE_CLASS_UNITS` and `DEVICE_CLASS_STATE_CLASSES` of Home Assistant 2024.11.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

TOPIC = re.compile(
    r"(?P<component>\w+)/(?:(?P<node_id>[a-zA-Z0-9_-]+)/)?(?P<object_id>[a-zA-Z0-9_-]+)/config"
)
MAX_STATE = 255
BLOCKED_ATTRIBUTES = {
    "available", "device_info", "entity_category", "entity_id", "extra_state_attributes",
    "force_update", "should_poll", "state", "unique_id", "assumed_state", "device_class",
    "entity_picture", "friendly_name", "icon", "supported_features", "unit_of_measurement",
    "last_reset", "state_class",
}  # fmt: skip
UNITS = {
    "temperature": {"°C", "°F", "K"},
    "duration": {"d", "h", "min", "s", "ms"},
    "data_size": {"B", "kB", "MB", "GB", "KiB", "MiB", "GiB"},
}
STATE_CLASSES = {
    "temperature": {"measurement"},
    "duration": {"measurement", "total", "total_increasing"},
    "data_size": {"measurement", "total", "total_increasing"},
    None: {"measurement", "total", "total_increasing"},
}

Check = Callable[[Any], bool]
Keys = dict[str, Check]


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _icon(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"mdi:[a-z0-9-]+", value) is not None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _topic(value: Any) -> bool:
    return _text(value) and not set(value) & set("+#\0") and len(value.encode()) <= 65_535


def _template(value: Any) -> bool:
    environment().parse(value)
    return _text(value)


DEVICE: Keys = {
    "identifiers": lambda value: isinstance(value, list) and bool(value) and all(map(_text, value)),
    "name": _text,
    "manufacturer": _text,
    "model": _text,
    "sw_version": _text,
}
ORIGIN: Keys = {"name": _text, "sw_version": _text}
AVAILABILITY: Keys = {
    "topic": _topic,
    "value_template": _template,
    "payload_available": _text,
    "payload_not_available": _text,
}
ENTITY: Keys = {
    "platform": lambda value: value in {"sensor", "text"},
    "unique_id": _text,
    "name": _text,
    "icon": _icon,
    "entity_category": lambda value: value in {"config", "diagnostic"},
    "state_topic": _topic,
    "value_template": _template,
    "json_attributes_topic": _topic,
    "json_attributes_template": _template,
    "qos": lambda value: value in {0, 1, 2},
}
SENSOR: Keys = {
    "device_class": lambda value: value in UNITS,
    "unit_of_measurement": _text,
    "state_class": lambda value: value in STATE_CLASSES[None],
    "suggested_display_precision": _whole,
    "force_update": _flag,
}
TEXT: Keys = {
    "command_topic": _topic,
    "command_template": _template,
    "min": _whole,
    "max": lambda value: _whole(value) and value <= MAX_STATE,
}


def environment() -> ImmutableSandboxedEnvironment:
    """Of templates: like Home Assistant's, but a field that is not there is an error."""
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    made.globals["now"] = lambda: datetime.now(UTC)
    return made


def render(template: str, **values: Any) -> str:
    """A template, rendered; blanks around it are dropped, as there."""
    return environment().from_string(template).render(**values).strip()


def state_of(entity: dict[str, Any], payload: bytes) -> str:
    """What an entity shows of a message."""
    state = render(entity["value_template"], value_json=json.loads(payload))
    assert len(state) <= MAX_STATE, "Home Assistant drops it"
    return "unknown" if state == "None" else state


def attributes_of(entity: dict[str, Any], payload: bytes) -> dict[str, Any]:
    """Its attributes."""
    text = render(entity["json_attributes_template"], value_json=json.loads(payload))
    attributes = json.loads(text)
    assert isinstance(attributes, dict)
    assert not set(attributes) & BLOCKED_ATTRIBUTES, "Home Assistant drops them"
    return attributes


def command_of(entity: dict[str, Any], value: str) -> bytes:
    """What is published when somebody sets a text."""
    return render(entity["command_template"], value=value).encode()


def check_discovery(topic: str, payload: bytes, *, prefix: str = "homeassistant") -> dict[str, Any]:
    """The message itself, if Home Assistant makes of it what it says."""
    matched = TOPIC.fullmatch(topic.removeprefix(f"{prefix}/"))
    assert matched is not None, topic
    assert matched["component"] == "device"
    message: dict[str, Any] = json.loads(payload)
    assert set(message) == {"device", "origin", "availability", "components"}
    _check("device", message["device"], DEVICE, required=("identifiers",))
    _check("origin", message["origin"], ORIGIN, required=("name",))
    for one in message["availability"]:
        _check("availability", one, AVAILABILITY, required=("topic",))
    components = message["components"]
    ids = [entity["unique_id"] for entity in components.values()]
    assert len(set(ids)) == len(ids)
    for key, entity in components.items():
        _check_entity(key, entity)
    return message


def _check(name: str, part: dict[str, Any], keys: Keys, *, required: tuple[str, ...]) -> None:
    assert set(required) <= set(part), f"{name}: {set(required) - set(part)} missing"
    for key, value in part.items():
        assert key in keys, f"{name}: {key} is unknown"
        assert keys[key](value), f"{name}: {key} is {value!r}"


def _check_entity(key: str, entity: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", key)
    if entity["platform"] == "text":
        _check(key, entity, ENTITY | TEXT, required=("unique_id", "command_topic"))
        assert entity["min"] <= entity["max"]
        return
    _check(key, entity, ENTITY | SENSOR, required=("unique_id", "state_topic"))
    device_class, unit = entity.get("device_class"), entity.get("unit_of_measurement")
    if device_class is not None:
        assert unit in UNITS[device_class], f"{key}: {device_class} in {unit}"
    state_class = entity.get("state_class")
    if state_class is not None:
        assert state_class in STATE_CLASSES[device_class], f"{key}: {state_class}"
    # A unit makes a sensor numeric there, and a number has a state class or no history.
    assert (unit is None) == (state_class is None), key
