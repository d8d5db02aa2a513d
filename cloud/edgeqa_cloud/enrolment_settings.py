"""What can be set about the authority that enrols devices."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class EnrolmentSettings(BaseModel):
    """Where the authority lies, and how long what it issues is valid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    authority: Path | None = Field(
        default=None,
        description="Folder of the authority, made by `edgeqa cloud authority init`. With it, "
        "`edgeqa cloud run` renews certificates and keeps `broker_files` fresh.",
    )
    authority_passphrase_file: Path | None = Field(
        default=None,
        description="File with the passphrase of its keys; a final line break is dropped.",
    )
    authority_every_s: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="How often `broker_files` are brought up to date: a revocation counts after "
        "so long, where the command that revoked could not write them.",
    )
    broker_files: Path | None = Field(
        default=None,
        description="Folder that the broker reads: its certificate, access rules, passwords and "
        "revocations; `AUTHORITY/broker` if not said.",
    )
    broker_files_seen_as: Path | None = Field(
        default=None,
        description="What the broker calls that folder, where it runs in a container or elsewhere.",
    )
    broker_data: Path = Field(
        default=Path("/var/lib/mosquitto"),
        description="Where the broker keeps sessions and retained messages, as it calls it.",
    )
    device_repository: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^https?://[^\s]+$",
        description="URL at which devices reach the repository of packages, for what "
        "`edgeqa cloud enrol` writes; `repository`, where that is http or https, if not said.",
    )
    certificate_days: float = Field(
        default=90.0,
        gt=0,
        le=3650,
        description="A device's or client's certificate or password is valid so long.",
    )
    service_certificate_days: float = Field(
        default=365.0, gt=0, le=3650, description="The same of the broker's and of services."
    )
    revocations_days: float = Field(
        default=30.0,
        ge=1,
        le=3650,
        description="A list of revoked certificates counts so long, and is signed again when half "
        "of it is over. Longer where an authority's key is kept elsewhere.",
    )
