"""Where the cloud's REST API is, and who asks: for commands that are clients of it."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from edgeqa.errors import ConfigError
from edgeqa_cloud.console_settings import state_folder

# A token is 43 characters; a file with more is a mistaken path.
_MAX_TOKEN_BYTES = 4096


class ApiSettings(BaseSettings):
    """Settings of `edgeqa rollout`."""

    model_config = SettingsConfigDict(env_prefix="EDGEQA_API_", frozen=True, extra="forbid")

    url: str = Field(
        default="http://127.0.0.1:8080",
        max_length=2000,
        pattern=r"^https?://[^\s/]+[^\s]*$",
        description="Of the API, without /api/v1: what `edgeqa cloud run` listens on, or the "
        "proxy before it.",
    )
    token_file: Path = Field(
        default_factory=lambda: state_folder() / "operator-token",
        description="File that holds the token; the one that `edgeqa cloud run` makes for "
        "commands on its machine, unless said.",
    )
    # No flag: it would stand in the list of processes and in the shell's history.
    token: SecretStr | None = Field(
        default=None, description="The token itself, from the environment only."
    )
    ca_file: Path | None = Field(
        default=None,
        description="Certificates of authorities that are trusted instead of the system's.",
    )
    timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="How long an answer may take."
    )


def read_token(settings: ApiSettings) -> str:
    """The token.

    Raises:
        ConfigError: there is none, or it cannot be one.
    """
    if settings.token is not None:
        token = settings.token.get_secret_value().strip()
    else:
        token = _token_of_file(settings)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"token: {token_source(settings)} holds none", code="no_token")
    return token


def token_source(settings: ApiSettings) -> str:
    """Where the token comes from, in words."""
    return str(settings.token_file) if settings.token is None else "EDGEQA_API_TOKEN"


def _token_of_file(settings: ApiSettings) -> str:
    file = settings.token_file
    try:
        if file.stat().st_size > _MAX_TOKEN_BYTES:
            raise ConfigError(f"token_file: {file} is too large to be a token", code="no_token")
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise ConfigError(
            f"no token: {file} is not there. `edgeqa cloud run` makes it on its machine; "
            "elsewhere make one there with `edgeqa cloud token create NAME --role operator` and "
            "name its file in EDGEQA_API_TOKEN_FILE",
            code="no_token",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"token_file: {file}: {error}", code="no_token") from error


def authorities(settings: ApiSettings) -> ssl.SSLContext | bool:
    """Whose certificates are trusted; False: none are shown, as the URL is not https.

    Raises:
        ConfigError: the file cannot be read.
    """
    file = settings.ca_file
    try:
        if file is None and not settings.url.startswith("https:"):
            return False  # a tenth of a second for nothing
        return ssl.create_default_context(cafile=None if file is None else str(file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file: {file}: {error}") from error
