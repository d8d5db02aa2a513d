"""What the surroundings tell the repository's commands: key folder, passphrase and time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from edgeqa.errors import ConfigError, UsageError

KEYS_VARIABLE = "EDGEQA_MODELS_KEYS"
PASSPHRASE_VARIABLE = "EDGEQA_MODELS_PASSPHRASE"  # noqa: S105  a name, not a passphrase
PASSPHRASE_FILE_VARIABLE = "EDGEQA_MODELS_PASSPHRASE_FILE"  # noqa: S105  the same
EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"  # https://reproducible-builds.org/specs/source-date-epoch/

MIN_PASSPHRASE_CHARS = 8  # NIST SP 800-63B, section 5.1.1.1: the least for a memorised secret
_MAX_PASSPHRASE_BYTES = 4096
# Later, expiry dates would leave the four digits that the metadata's format has for a year.
_LAST_YEAR = 9000

Ask = Callable[[str, bool], str]


class Passphrase:
    """The passphrase of the keys in one folder, fetched when it is needed first.

    Args:
        environ: of the process.
        ask: prompts a person (text, whether to type it twice); None where nobody sits.
    """

    def __init__(self, *, environ: Mapping[str, str], ask: Ask | None) -> None:
        self._environ = environ
        self._ask = ask
        self._known: bytes | None = None

    def get(self, *, new: bool = False) -> bytes:
        """The passphrase; `new` where it shall protect a key that is being made.

        Raises:
            ConfigError: there is none, or its file cannot be read (`passphrase_missing`), or it
                is too short for a new key (`passphrase_weak`).
        """
        if self._known is None:
            self._known = self._fetch(new=new)
        if new and len(self._known.decode(errors="replace")) < MIN_PASSPHRASE_CHARS:
            self._known = None
            raise ConfigError(
                f"a passphrase needs {MIN_PASSPHRASE_CHARS} characters or more",
                code="passphrase_weak",
            )
        return self._known

    def _fetch(self, *, new: bool) -> bytes:
        if text := self._environ.get(PASSPHRASE_VARIABLE):
            return text.encode()
        if name := self._environ.get(PASSPHRASE_FILE_VARIABLE):
            return _first_line(Path(name))
        if self._ask is not None and (text := self._ask("Passphrase of the keys", new)):
            return text.encode()
        hint = ", or make keys without one by --no-passphrase" if new else ""
        raise ConfigError(
            f"the keys need a passphrase: set {PASSPHRASE_VARIABLE} or {PASSPHRASE_FILE_VARIABLE}, "
            f"or run this in a terminal{hint}",
            code="passphrase_missing",
        )


def default_keys(environ: Mapping[str, str]) -> Path:
    """Where keys lie if nobody says otherwise."""
    home = environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "edgeqa" / "keys"


def moment(given: str | None, environ: Mapping[str, str]) -> datetime:
    """The time to sign at, in whole seconds: `given`, else SOURCE_DATE_EPOCH, else the clock.

    Args:
        given: RFC 3339 in UTC, such as 2027-01-31T12:00:00Z.
        environ: of the process.

    Raises:
        UsageError: it is not a time.
    """
    if given is not None:
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", given):
            raise UsageError(f"--now {given}: not a time such as 2027-01-31T12:00:00Z")
        try:
            now = datetime.fromisoformat(given)
        except ValueError as error:
            raise UsageError(f"--now {given}: {error}") from error
    elif epoch := environ.get(EPOCH_VARIABLE):
        try:
            now = datetime.fromtimestamp(int(epoch), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise UsageError(f"{EPOCH_VARIABLE}={epoch}: not seconds since 1970") from error
    else:
        now = datetime.now(UTC)
    if now.year > _LAST_YEAR:
        raise UsageError(f"{now:%Y-%m-%d} is too far in the future")
    return now.replace(microsecond=0, tzinfo=UTC)


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            line = file.read(_MAX_PASSPHRASE_BYTES).partition(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise ConfigError(
            f"{PASSPHRASE_FILE_VARIABLE}: {path}: {error.strerror}", code="passphrase_missing"
        ) from error
    if not line:
        raise ConfigError(
            f"{PASSPHRASE_FILE_VARIABLE}: {path}: is empty", code="passphrase_missing"
        )
    return line
