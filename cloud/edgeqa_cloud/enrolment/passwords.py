"""Passwords for the broker, and what its password file keeps of them.

Ours are 256 random bits, which nobody guesses however fast a guess is: so the broker's own default
of rounds is enough, and a fleet that connects at once costs its one thread little.

Source of the form: Mosquitto 2.0, `mosquitto_passwd(1)` and src/password_mosq.c: `$7$`, rounds,
salt and PBKDF2-HMAC-SHA512, both in base64.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.names import check_name

# src/password_mosq.h: PW_DEFAULT_ITERATIONS, SALT_LEN (2.0) and the length of SHA-512.
_ROUNDS = 101
_SALT_BYTES = 12
_HASH_BYTES = 64
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class IssuedPassword:
    """A password that was issued, yet to be recorded.

    Attributes:
        password: to be given to its owner, once.
        hashed: as the broker's password file has it.
    """

    role: Role
    name: str
    password: str = field(repr=False)
    hashed: str
    issued: datetime
    expires: datetime


def issue_password(role: Role, name: str, *, valid_days: float, now: datetime) -> IssuedPassword:
    """A password that nobody has.

    Raises:
        BadNameError: `bad_name`.
    """
    check_name(name)
    password = secrets.token_urlsafe(_SECRET_BYTES)
    issued = now.astimezone(UTC).replace(microsecond=0)
    return IssuedPassword(
        role=role,
        name=name,
        password=password,
        hashed=hash_for_broker(password, salt=secrets.token_bytes(_SALT_BYTES)),
        issued=issued,
        expires=issued + timedelta(days=valid_days),
    )


def hash_for_broker(password: str, *, salt: bytes) -> str:
    """What stands after the name and a colon in Mosquitto's password file."""
    hashed = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS, _HASH_BYTES)
    return f"$7${_ROUNDS}${_text(salt)}${_text(hashed)}"


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
