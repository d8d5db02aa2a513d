"""What can be set about the API, the web page and rollouts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edgeqa.errors import ConfigError
from edgeqa.repository.repository_url import parse_repository_url
from edgeqa_cloud.metrics_settings import listen_address


def state_folder() -> Path:
    """Where who runs this keeps state."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "edgeqa"


class ConsoleSettings(BaseModel):
    """Where the API and the page are served, and what rollouts may deploy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = Field(
        # Local, as it speaks plain HTTP: a reverse proxy in front brings TLS.
        default="127.0.0.1:8080",
        description="HOST:PORT of the API and the web page; port 0: any free one; `off`: none.",
    )
    public_url: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^https?://[^\s]+$",
        description="Where browsers find it, if not at `listen`: behind a proxy. With https, "
        "cookies are sent over nothing else.",
    )
    token_file: Path | None = Field(
        default_factory=lambda: state_folder() / "operator-token",
        description="An operator's token for commands on this machine, made at the start if it is "
        "not there; mode 0600. `off`: none.",
    )
    session_hours: float = Field(
        default=12.0, gt=0, le=8760, description="A login to the web page ends after so long."
    )
    rollouts: bool = Field(
        default=True,
        description="Also steer rollouts; of several cloud processes with it, one does so at a "
        "time.",
    )
    rollouts_every_s: float = Field(
        default=1.0, gt=0, le=60, description="How often rollouts are looked at."
    )
    repository: str | None = Field(
        default=None,
        max_length=2000,
        description="URL or folder of the signed repository whose packages may be rolled out.",
    )
    repository_root: Path | None = Field(
        default=None,
        description="The repository's `root.json`, which is trusted to begin with.",
    )
    repository_folder: Path = Field(
        default_factory=lambda: state_folder() / "repository",
        description="Where what was seen of the repository is kept, so that nobody can offer an "
        "older one.",
    )
    repository_every_s: float = Field(
        default=300.0, ge=1, le=86_400, description="How often the repository is read."
    )

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, listen: str) -> str:
        if listen != "off":
            listen_address(listen)
        return listen

    @field_validator("repository")
    @classmethod
    def _is_an_address_or_a_folder(cls, repository: str | None) -> str | None:
        if repository is None:
            return None
        if "://" not in repository:
            repository = Path(repository).expanduser().absolute().as_uri()
        try:
            return parse_repository_url(repository).text
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("repository: ")) from error

    @model_validator(mode="after")
    def _repository_has_a_root(self) -> Self:
        if (self.repository is None) != (self.repository_root is None):
            raise ValueError("repository and repository_root belong together: set both or neither")
        return self
