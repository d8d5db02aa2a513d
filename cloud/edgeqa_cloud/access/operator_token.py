"""The token for commands on the cloud's own machine, in a file that only its account can read.

Made at the start of `edgeqa cloud run` where there is none, or one that this database does not
know any more.
"""

from __future__ import annotations

from pathlib import Path

from structlog.typing import FilteringBoundLogger

from edgeqa.errors import ConfigError
from edgeqa.files import write_atomic
from edgeqa_cloud.access import account_rows
from edgeqa_cloud.access.accounts import Accounts
from edgeqa_cloud.access.roles import Kind, Role
from edgeqa_cloud.access.secrets_at_rest import kept, new_token
from edgeqa_cloud.database import Database

ACTOR = "cloud"
# A file with more is a mistaken path.
_MAX_BYTES = 4096
_NAMES = 1000


def ensure_operator_token(
    path: Path,
    *,
    database: Database,
    accounts: Accounts,
    now_ms: int,
    host: str,
    log: FilteringBoundLogger,
) -> None:
    """Make the file and its token, unless it holds one that counts.

    Args:
        host: the machine's name, for the token's.

    Raises:
        ConfigError: the file cannot be read or made.
        DBAPIError: the database is away.
    """
    try:
        present = _read(path)
        if present and (caller := accounts.of_token(present)) and caller.may(Role.OPERATOR):
            path.chmod(0o600)
            return
        token = new_token()
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written first: a file without a token in the database is mended at the next start, a
        # token that nobody has would stay for ever.
        write_atomic(path, f"{token}\n".encode(), mode=0o600)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"token_file: {path}: {error}; name another file, or none with an empty setting"
        ) from error
    with database.writing() as connection:
        taken = {one.name for one in account_rows.list_accounts(connection, Kind.TOKEN)}
        first = f"operator-{host}"[:50]
        names = [first, *(f"{first}-{number}" for number in range(2, _NAMES))]
        name = next(one for one in names if one not in taken)
        account_rows.create(
            connection, Kind.TOKEN, name, role=Role.OPERATOR, secret=kept(token), actor=ACTOR,
            now_ms=now_ms,
        )  # fmt: skip
    log.info("operator_token_made", file=str(path), token=name)


def _read(path: Path) -> str | None:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise OSError("too large to be a token")
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
