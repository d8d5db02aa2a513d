"""Secrets, and what is kept of them. Pure, but for random bytes.

Tokens and session ids are 256 random bits: nobody guesses them, so their SHA-256 is enough to keep.
Passwords are people's, so they are kept by scrypt, which makes each guess dear.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

# Tools that look for secrets in texts know ours by it.
TOKEN_PREFIX = "edgeqa_"  # noqa: S105  a prefix, no secret
# 256 bits: 43 characters of base64.
_SECRET_BYTES = 32
_SALT_BYTES = 16
_HASH_BYTES = 32
MIN_PASSWORD_CHARS = 10
# Of a password; a longer one would only cost us time.
MAX_PASSWORD_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters of scrypt: memory is 128 * n * r bytes.

    Source: OWASP Password Storage Cheat Sheet, which has these beside others of equal strength;
    of those, the one with 16 MiB, as small machines run this too.
    """

    n: int = 1 << 14
    r: int = 8
    p: int = 5

    @property
    def most_bytes(self) -> int:
        """That OpenSSL may take: what it needs, and a little more for itself."""
        return 128 * self.r * (self.n + self.p + 2) + (1 << 20)


USUAL_COST = Cost()


def new_token() -> str:
    """A token that nobody has."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def new_session() -> str:
    """A session id that nobody has."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def kept(secret: str) -> str:
    """What is kept of a token or a session id."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_kept(secret: str, stored: str) -> bool:
    """Whether that is what is kept of this secret; it takes as long whether or not."""
    return hmac.compare_digest(kept(secret), stored)


def hash_password(password: str, *, cost: Cost = USUAL_COST) -> str:
    """What is kept of a password: parameters, salt and hash."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return "$".join(
        ("scrypt", f"{cost.n},{cost.r},{cost.p}", _text(salt), _text(_scrypt(password, salt, cost)))
    )


def nobodys_password(*, cost: Cost = USUAL_COST) -> str:
    """Looks like what is kept of a password, costs as much to check, and is that of none."""
    return "$".join(
        (
            "scrypt",
            f"{cost.n},{cost.r},{cost.p}",
            _text(bytes(_SALT_BYTES)),
            _text(bytes(_HASH_BYTES)),
        )
    )


def is_password(password: str, stored: str) -> bool:
    """Whether that is what is kept of this password; False for what cannot be read."""
    try:
        kind, numbers, salt, wanted = stored.split("$")
        cost = Cost(*map(int, numbers.split(",")))
        if kind != "scrypt":
            return False
        found = _scrypt(password, base64.b64decode(salt, validate=True), cost)
        return hmac.compare_digest(found, base64.b64decode(wanted, validate=True))
    except (ValueError, TypeError, binascii.Error):
        return False


def _scrypt(password: str, salt: bytes, cost: Cost) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=cost.most_bytes, dklen=_HASH_BYTES,
    )  # fmt: skip


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
