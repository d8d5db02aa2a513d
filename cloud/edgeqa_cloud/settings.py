"""What can be set about the cloud side: read once at the start, then passed.

Every field may come from a flag, from `EDGEQA_CLOUD_…` in the environment or from a TOML file, in
this order of precedence.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edgeqa.broker import BrokerSettings
from edgeqa.logs import Format, Level
from edgeqa.topics import is_name
from edgeqa_cloud.console_settings import ConsoleSettings, state_folder
from edgeqa_cloud.enrolment_settings import EnrolmentSettings
from edgeqa_cloud.metrics_settings import MetricsSettings


def default_database() -> str:
    """An SQLite file in the state folder of who runs this."""
    return f"sqlite:///{state_folder() / 'cloud.db'}"


def default_name() -> str:
    """`edgeqa-collector-` and the host's name, where that can be part of a name."""
    name = f"edgeqa-collector-{platform.node()}"
    return name if is_name(name) else "edgeqa-collector"


class DatabaseSettings(BaseSettings):
    """Settings of every command that reads or writes the cloud's database."""

    model_config = SettingsConfigDict(env_prefix="EDGEQA_CLOUD_", frozen=True, extra="forbid")

    database: str = Field(
        default_factory=default_database,
        description="URL of the database: sqlite:///PATH, or postgresql://USER@HOST/NAME.",
    )
    database_password_file: Path | None = Field(
        default=None, description="File that holds the password of the PostgreSQL user."
    )
    database_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="How long to wait for a connection to PostgreSQL, or for SQLite's lock.",
    )
    sqlite_synchronous: Literal["normal", "full"] = Field(
        default="full",
        description="`full`: what is acknowledged to the broker survives a power cut. `normal`: "
        "the last moments may not, and are asked of the devices again.",
    )


class CloudSettings(
    BrokerSettings, MetricsSettings, ConsoleSettings, EnrolmentSettings, DatabaseSettings
):
    """Settings of `edgeqa cloud run` and `edgeqa cloud collect`."""

    model_config = SettingsConfigDict(env_prefix="EDGEQA_CLOUD_", frozen=True, extra="forbid")

    name: str = Field(
        default_factory=default_name,
        description="Of this collector, at the broker and in logs: another one for each; "
        "`edgeqa-collector-` and the host name.",
    )
    group: str = Field(
        default="edgeqa",
        description="Collectors of the same group divide the messages among themselves.",
    )
    session_expiry_s: int = Field(
        default=300,
        ge=0,
        le=86_400,
        description="How long the broker keeps messages for this collector when it is away.",
    )
    receive_maximum: int = Field(
        default=4000,
        ge=1,
        le=65_535,
        description="Messages that the broker may have open with this collector: taken, and not "
        "yet acknowledged because not yet committed.",
    )
    batch_messages: int = Field(
        default=1000, ge=1, le=20_000, description="Most messages in one transaction."
    )
    max_payload_bytes: int = Field(
        default=256 << 10,
        ge=1024,
        le=16 << 20,
        description="Largest message that is stored; a larger one goes to quarantine, bytes.",
    )
    quarantine_max_rows: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="Messages kept in quarantine; the oldest give way.",
    )
    quarantine_payload_bytes: int = Field(
        default=16 << 10,
        ge=0,
        le=16 << 20,
        description="Kept of each message in quarantine; what is cut cannot be tried again.",
    )
    batch_wait_ms: int = Field(
        default=50,
        ge=0,
        le=10_000,
        description="How long a message may wait for others to be stored together with it.",
    )
    gap_settle_s: float = Field(
        default=30.0,
        gt=0,
        le=86_400,
        description="A record that the broker has had for so long and that is not here is missing.",
    )
    gap_retry_s: float = Field(
        default=120.0,
        gt=0,
        le=86_400,
        description="Pause before a gap is asked for again; it doubles each time, to a day.",
    )
    gap_tries: int = Field(
        default=12,
        ge=1,
        le=1000,
        description="Times that a gap is asked for, while the device is online, before its records "
        "count as lost.",
    )
    raw_keep_days: float = Field(
        default=7.0, gt=0, le=36_500, description="How long each record is kept."
    )
    hours_keep_days: float = Field(
        default=90.0,
        gt=0,
        le=36_500,
        description="How long hourly roll-ups are kept, and which wishes were published.",
    )
    days_keep_days: float = Field(
        default=1095.0,
        gt=0,
        le=36_500,
        description="How long daily roll-ups, evaluations and swaps are kept.",
    )
    jobs: bool = Field(
        default=True,
        description="Also look for gaps, roll hours up and delete what is old; of several "
        "collectors with it, one does so at a time.",
    )
    jobs_every_s: float = Field(
        default=15.0,
        gt=0,
        le=3600,
        description="How often gaps are looked for and finished hours rolled up.",
    )
    health_file: Path | None = Field(
        default=None, description="File for `edgeqa cloud health`, written every 5 s."
    )
    log_level: Level = Field(default="info", description="debug, info, warning or error.")
    log_format: Format = Field(
        default="auto", description="json, console, or auto: console on a terminal, else json."
    )

    @field_validator("name", "group")
    @classmethod
    def _fits_a_topic(cls, name: str) -> str:
        if not is_name(name):
            raise ValueError("must be 1 to 64 letters, digits, '.', '_' or '-'")
        return name
