"""What can be set about Home Assistant; part of the agent's settings."""

from __future__ import annotations

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edgeqa.topics import is_name

# Source: TOPIC_MATCHER in homeassistant/components/mqtt/discovery.py.
_DISCOVERY_ID = re.compile(r"[A-Za-z0-9_-]+")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


class HomeAssistantSettings(BaseModel):
    """Whether and how the device shows itself to Home Assistant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home_assistant: bool = Field(
        default=False, description="Show this device in Home Assistant, by MQTT discovery."
    )
    home_assistant_prefix: str = Field(
        default="homeassistant",
        min_length=1,
        max_length=128,
        description="The discovery prefix that is set there.",
    )
    home_assistant_context: str | None = Field(
        default=None,
        description="Id of the stored text that questions from there are about; none if not said, "
        "and then there is no field for a question.",
    )
    home_assistant_interval_s: float = Field(
        default=60.0,
        ge=1,
        le=86_400,
        description="How often its figures are looked at; they are sent if they changed.",
    )

    @field_validator("home_assistant_prefix")
    @classmethod
    def _prefix_is_a_topic(cls, prefix: str) -> str:
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(
                "must be topic levels of letters, digits, '.', '_' or '-', separated by '/'"
            )
        return prefix

    @field_validator("home_assistant_context")
    @classmethod
    def _context_is_a_name(cls, context_id: str | None) -> str | None:
        if context_id is not None and not is_name(context_id):
            raise ValueError(
                "must be the id of a stored text: 1 to 64 letters, digits, '.', '_' or '-', "
                "beginning with a letter or digit"
            )
        return context_id

    @model_validator(mode="after")
    def _device_is_known_there(self) -> Self:
        device = getattr(self, "device", "")  # of the settings that this is a part of
        if self.home_assistant and device and not _DISCOVERY_ID.fullmatch(device):
            raise ValueError(
                f"Home Assistant takes no device called {device!r}: its discovery topics have "
                "letters, digits, '_' and '-' alone; name the device without dots, or set "
                "home_assistant = false"
            )
        return self
