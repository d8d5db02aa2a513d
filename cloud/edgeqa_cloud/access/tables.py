"""Tables of who may do what: accounts (people and programs), sessions of browsers, repeated calls.

No secret is here, only its hash: SHA-256 of tokens and session ids, which are 256 random bits;
scrypt of passwords, which are not.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text

from edgeqa_cloud.tables import key_type, metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", key_type(), primary_key=True),
    Column("kind", String(8), nullable=False),  # `user` or `token`
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),  # `viewer`, `operator` or `admin`
    Column("secret", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("last_used_ms", BigInteger),
)
Index("uq_accounts_kind_name", accounts.c.kind, accounts.c.name, unique=True)
Index("ix_accounts_secret", accounts.c.secret)

sessions = Table(
    "sessions",
    metadata,
    Column("secret", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
)

idempotency = Table(
    "idempotency",
    metadata,
    # A call that is repeated with the same key is answered as the first was, and not done again.
    Column("account", String(128), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("request", String(64), nullable=False),  # SHA-256 of method, path and body
    Column("status", Integer),  # none while the first is under way
    Column("headers", Text),
    Column("body", Text),
    Column("made_ms", BigInteger, nullable=False, index=True),
)
