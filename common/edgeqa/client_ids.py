"""Client ids that nobody else at the broker can name.

Whoever connects with a client id ends the connection that has it, and takes its session: also if he
is another user, at another listener. Mosquitto knows no rule against that, so an id that stays the
same from start to start is made so that it cannot be guessed: of its name and of the secret that
its owner proves itself with. Copies of one machine still have one id, and show themselves by
throwing each other off.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from edgeqa.broker import BrokerSettings

# 128 bits, hexadecimal: as many as the ids that are made at random.
_DIGITS = 32


def private_client_id(name: str, settings: BrokerSettings) -> str:
    """The same at each call, for the same name and secret.

    Args:
        name: what the id begins with, and is where there is no secret.
        settings: name the files of the password or the key. A renewed certificate has another key,
            but the settings go on naming the first, so the session outlives the renewal.
    """
    secret = _secret(settings)
    if not secret:
        return name
    digest = hmac.digest(secret, f"edgeqa client id {name}".encode(), hashlib.sha256)
    return f"{name}-{digest.hex()[:_DIGITS]}"


def _secret(settings: BrokerSettings) -> bytes:
    """Of the files that there are; what is wrong with them is said by whoever connects."""
    paths: list[Path | None] = [
        settings.broker_password_file,
        settings.broker_key_file or settings.broker_cert_file,
    ]
    return b"".join(_content(path) for path in paths if path is not None)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
