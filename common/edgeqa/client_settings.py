"""What can be set about the commands that talk to devices."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from edgeqa.broker import BrokerSettings
from edgeqa.messages import MAX_DEADLINE_MS, MAX_TOP_K, Name, Quality
from edgeqa.questions import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S

# Those of a question: commands that ask none give no flags for them.
HOW_TO_ASK = ("top_k", "quality", "deadline_ms")


class ClientSettings(BrokerSettings, BaseSettings):
    """Settings of `edgeqa ask`, `edgeqa context` and the operator's commands."""

    model_config = SettingsConfigDict(env_prefix="EDGEQA_CLIENT_", frozen=True, extra="forbid")

    # A flag for one wins over a variable for the other.
    EXCLUSIVE: ClassVar = (("device", "group"),)

    # A person waits: less patience than an agent at boot.
    broker_connect_timeout_s: float = Field(
        default=5.0, gt=0, le=3600, description="How long to try to connect."
    )
    device: Name | None = Field(default=None, description="The device to ask.")
    group: Name | None = Field(default=None, description="The group to ask any one agent of.")
    top_k: int = Field(default=1, ge=1, le=MAX_TOP_K, description="Answers wanted, best first.")
    quality: Quality | None = Field(
        default=None,
        description="Which model of a device that has two: `fast`, `best`, or `balanced`: as load, "
        "temperature and deadline allow.",
    )
    deadline_ms: int | None = Field(
        default=None,
        ge=1,
        le=MAX_DEADLINE_MS,
        description="The device refuses a question that it cannot begin in this time, "
        "milliseconds.",
    )
    timeout_s: float = Field(
        default=DEFAULT_TIMEOUT_S,
        gt=0,
        le=MAX_TIMEOUT_S,
        description="How long to wait for an answer, seconds.",
    )


class RollbackSettings(ClientSettings):
    """The same with more patience: a device loads and tests the previous model first."""

    timeout_s: float = Field(
        # A device gives a model 60 s to load unless it is told otherwise, and then tests it.
        default=120.0,
        gt=0,
        le=MAX_TIMEOUT_S,
        description="How long to wait for the reply, seconds.",
    )
