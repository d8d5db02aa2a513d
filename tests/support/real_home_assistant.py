"""Home Assistant itself, its core and its MQTT integration, against a broker and an agent.

Run by a Python that has `homeassistant`, `paho-mqtt` and `aiohasupervisor`, which need a newer
Python than EdgeQA does; so it imports nothing of EdgeQA's. Reads a JSON list of questions from its
input and writes what Home Assistant made of the device as JSON: its entities, the answer to each
question, and every warning that it logged.

    python real_home_assistant.py PORT FOLDER DEVICE < questions.json
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

from homeassistant import auth, bootstrap, config_entries, core, loader
from homeassistant.const import __version__
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.setup import async_setup_component

TIMEOUT_S = 60.0


class Warnings(logging.Handler):
    """Collects what is logged above INFO."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


async def until(found: Any, what: str) -> Any:
    """Wait until a function gives something."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (value := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.05)
    return value


async def begin(port: int, folder: str) -> core.HomeAssistant:
    """A core with the MQTT integration alone."""
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    loader.async_setup(hass)
    assert await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [], [])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        web = {"server_host": ["127.0.0.1"], "server_port": free.getsockname()[1]}
    assert await async_setup_component(hass, "http", {"http": web})
    hass.set_state(core.CoreState.running)
    await hass.config_entries.async_add(
        config_entries.ConfigEntry(
            data={"broker": "127.0.0.1", "port": port, "protocol": "5"},
            discovery_keys=MappingProxyType({}),
            domain="mqtt",
            minor_version=2,
            options={},
            source="user",
            subentries_data=(),
            title="broker",
            unique_id=None,
            version=1,
        )
    )
    return hass


async def ask(hass: core.HomeAssistant, entities: dict[str, str], question: str) -> dict[str, Any]:
    """Type a question; what the answer's entity shows then."""
    before = hass.states.get(entities["answer"])
    await hass.services.async_call(
        "text", "set_value", {"entity_id": entities["question"], "value": question}, blocking=True
    )

    def answered() -> core.State | None:
        state = hass.states.get(entities["answer"])
        same = state is None or (before and state.last_reported == before.last_reported)
        return None if same or state.attributes.get("question") != question else state

    state = await until(answered, f"an answer to {question!r}")
    typed = hass.states.get(entities["question"])
    return {
        "question": question,
        "state": state.state,
        "attributes": dict(state.attributes),
        "field": typed.state if typed else None,
    }


async def main(port: int, folder: str, device: str, questions: list[str]) -> dict[str, Any]:
    """What Home Assistant has."""
    warnings = Warnings()
    logging.getLogger("homeassistant").addHandler(warnings)
    hass = await begin(port, folder)
    registry = entity_registry.async_get(hass)
    prefix = f"edgeqa_{device}_"

    def known() -> dict[str, str]:
        return {
            entry.unique_id.removeprefix(prefix): entry.entity_id
            for entry in registry.entities.values()
            if entry.unique_id.startswith(prefix)
        }

    def ready() -> bool:
        entities = known()
        state = hass.states.get(entities.get("model", "sensor.none"))
        return state is not None and state.state not in {"unknown", "unavailable"}

    await until(ready, "the device")
    entities = known()
    answers = [await ask(hass, entities, question) for question in questions]
    states = {
        key: {"entity_id": entity_id, "state": state.state, "attributes": dict(state.attributes)}
        for key, entity_id in entities.items()
        if (state := hass.states.get(entity_id)) is not None
    }
    device_id = registry.entities[entities["model"]].device_id
    found = device_registry.async_get(hass).async_get(device_id)
    assert found is not None
    assert ("mqtt", prefix[:-1]) in found.identifiers
    shown = {name: getattr(found, name) for name in ("name", "manufacturer", "model", "sw_version")}
    await hass.async_stop(force=True)
    return {
        "home_assistant": __version__,
        "device": shown,
        "entities": states,
        "answers": answers,
        "warnings": warnings.lines,
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    port_given, folder_given, device_given = sys.argv[1:]
    Path(folder_given, "configuration.yaml").touch()
    result = asyncio.run(main(int(port_given), folder_given, device_given, json.load(sys.stdin)))
    json.dump(result, sys.stdout, ensure_ascii=False, indent=1, default=str)
