"""What can be set about the cloud side: read once at the start, then passed.

Every field may come from a flag, from `EDGEQA_CLOUD_…` in the environment or from a TOML file, in
this order of precedence.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_database() -> str:
    """An SQLite file in the state folder of who runs this."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return f"sqlite:///{Path(home) / 'edgeqa' / 'cloud.db'}"


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
