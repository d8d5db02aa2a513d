"""What can be set about a simulated fleet."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edgeqa.broker import BrokerSettings
from edgeqa.errors import ConfigError
from edgeqa.topics import is_name
from edgeqa_cloud.simulate.models import parse_model

# One address reaches one broker over at most 64,511 ports, and Linux gives out 28,232 of them
# unless told otherwise: more devices than this need several machines.
# Source: Linux, ip-sysctl, ip_local_port_range.
MAX_DEVICES = 60_000
# Longest name is 64 characters; the number behind the prefix needs six, docs/asyncapi.yaml.
MAX_PREFIX = 58


class SimulateSettings(BrokerSettings, BaseSettings):
    """Settings of `edgeqa cloud simulate`."""

    model_config = SettingsConfigDict(env_prefix="EDGEQA_SIMULATE_", frozen=True, extra="forbid")

    broker_keepalive_s: int = Field(
        default=60, ge=5, le=3600, description="MQTT keep-alive of each device, seconds."
    )
    devices: int = Field(default=100, ge=1, le=MAX_DEVICES, description="How many devices.")
    prefix: str = Field(
        default="sim-",
        max_length=MAX_PREFIX,
        description="Begins each device's id; the number follows: sim-00001.",
    )
    telemetry_interval_s: float = Field(
        default=60.0, ge=0.05, le=86_400, description="Serving telemetry of each device."
    )
    heartbeat_interval_s: float = Field(
        default=60.0, ge=0.05, le=86_400, description="Heartbeat of each device."
    )
    evaluation_interval_s: float = Field(
        default=3600.0,
        ge=0,
        le=8_640_000,
        description="Self-evaluation of each device; 0: only after swaps and on command.",
    )
    evaluation_questions: int = Field(
        default=50, ge=1, le=1200, description="Questions of one self-evaluation."
    )
    questions_per_minute: float = Field(
        default=6.0, ge=0, le=10_000, description="That a device is asked at its busiest hour."
    )
    models: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="A model that devices can be wished, as NAME@VERSION:em=66:f1=76:p50=20 with "
        "any of em, f1 (true scores, percent), p50, p95 (ms), memory (MiB), fail (share of wishes "
        "that fail), dies (share of devices that roll it back) and digest; they start with the "
        "first. Repeat the flag.",
    )
    fetch_s: float = Field(
        default=20.0, ge=0, le=86_400, description="A device needs about so long to fetch a model."
    )
    load_s: float = Field(
        default=4.0, ge=0, le=3600, description="A device needs about so long to load and test it."
    )
    connect_rate: float = Field(
        default=200.0,
        gt=0,
        le=100_000,
        description="Connections opened a second, at the start and after a break.",
    )
    duration_s: float = Field(
        default=0.0, ge=0, le=31_536_000, description="End after so long; 0: run until stopped."
    )
    settle_s: float = Field(
        default=0.0,
        ge=0,
        le=86_400,
        description="After `duration_s`, make no more records and wait at most so long until all "
        "are sent, also those that a fault lost.",
    )
    seed: int = Field(
        default=0, description="Of all chance in the devices; the same gives the same."
    )
    state_dir: Path | None = Field(
        default=None,
        description="Folder that keeps the outboxes, so that the next simulation goes on with what "
        "this one could not send; a temporary one if not said.",
    )
    report_every_s: float = Field(
        default=10.0, ge=0.1, le=3600, description="A line of figures where there is no terminal."
    )
    loss: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="Fault: share of records that are lost although the broker acknowledged them, "
        "so that the cloud has to find the gap.",
    )
    duplicates: float = Field(
        default=0.0, ge=0, le=1, description="Fault: share of records that are published twice."
    )
    reorder: float = Field(
        default=0.0, ge=0, le=1, description="Fault: share of records that later ones overtake."
    )
    clock_jump: float = Field(
        default=0.0, ge=0, le=1, description="Fault: share of devices whose clock jumps once."
    )
    clock_jump_s: float = Field(
        default=7200.0,
        ge=0,
        le=3_200_000_000,
        description="How far such a clock jumps at most, ahead or back.",
    )
    offline: float = Field(
        default=0.0, ge=0, le=0.95, description="Fault: share of the time that devices are offline."
    )
    offline_spell_s: float = Field(
        default=120.0, gt=0, le=8_640_000, description="How long an offline spell is on average."
    )
    bad_payloads: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Fault: malformed messages beside the records, as a share of them.",
    )

    @field_validator("prefix")
    @classmethod
    def _makes_names(cls, prefix: str) -> str:
        if not is_name(f"{prefix}0"):
            raise ValueError(
                "must be letters, digits, '.', '_' and '-', and begin with one of the first two"
            )
        return prefix

    @field_validator("models")
    @classmethod
    def _are_models(cls, texts: list[str]) -> list[str]:
        for text in texts:
            try:
                parse_model(text)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return texts

    def device(self, number: int) -> str:
        """The id of a device; numbers begin with 1."""
        return f"{self.prefix}{number:05d}"
