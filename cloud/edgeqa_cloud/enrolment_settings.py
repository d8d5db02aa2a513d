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
    broker_files: Path | None = Field(
        default=None,
        description="Folder that the broker reads: its certificate, access rules, passwords and "
        "revocations; `AUTHORITY/broker` if not said.",
    )
    certificate_days: float = Field(
        default=90.0,
        gt=0,
        le=3650,
        description="A device's or client's certificate is valid so long.",
    )
    service_certificate_days: float = Field(
        default=365.0, gt=0, le=3650, description="The same of the broker's and of services."
    )
