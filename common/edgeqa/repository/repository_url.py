"""Where a model repository is, and what is trusted of it: what a role's settings name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from edgeqa.errors import ConfigError

_FORMS = "http://HOST[:PORT]/PATH, https://HOST[:PORT]/PATH or file:///FOLDER"


@dataclass(frozen=True, slots=True)
class RepositoryUrl:
    """The address; `metadata/` and `targets/` lie below it.

    Attributes:
        text: as it was given, without a final slash.
        folder: that a `file://` address names; None if it is one of the web.
    """

    text: str
    folder: Path | None


def parse_repository_url(text: str) -> RepositoryUrl:
    """Check an address.

    Raises:
        ConfigError: it is none, or would put a password into logs.
    """
    if any(one <= " " or one == "\x7f" for one in text):
        raise ConfigError(f"repository: {text!r} holds blanks or control characters")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"repository: {text!r} is no URL: {error}; it must be {_FORMS}") from None
    if parts.username is not None or parts.password is not None:
        # Not echoed: it may hold a password.
        raise ConfigError("repository: user names and passwords in the URL are not supported")
    if parts.query or parts.fragment:
        raise ConfigError(f"repository: {text!r} has a query or fragment; it must be {_FORMS}")
    text = text.rstrip("/")
    if parts.scheme in {"http", "https"} and host:
        return RepositoryUrl(text, None)
    if parts.scheme == "file" and host in {None, "localhost"}:
        folder = Path(url2pathname(parts.path))
        if folder.is_absolute() and "\0" not in str(folder):
            return RepositoryUrl(text, folder)
    raise ConfigError(f"repository: {text!r} must be {_FORMS}")


def read_root(path: Path) -> bytes:
    """The root metadata that is trusted to begin with, as they lie in their file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"repository_root: {path}: {error.strerror}") from error
