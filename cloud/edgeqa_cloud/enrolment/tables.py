"""Table of what was issued: certificates and passwords, without any secret."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from edgeqa_cloud.tables import key_type, metadata

credentials = Table(
    "credentials",
    metadata,
    Column("id", key_type(), primary_key=True),
    Column("role", String(8), nullable=False),  # `edgeqa.identity.roles.Role`
    Column("name", String(64), nullable=False),
    Column("method", String(16), nullable=False),  # `certificate` or `password`
    # Of a certificate: its serial number in hexadecimal, and SHA-256 of its DER, hexadecimal.
    Column("serial", String(40)),
    Column("fingerprint", String(64)),
    # Of a password: the hash that the broker's password file has (PBKDF2-SHA512).
    Column("secret", Text),
    Column("issued_ms", BigInteger, nullable=False),
    Column("issued_by", String(128), nullable=False),  # `renewal`: the device itself, over MQTT
    Column("expires_ms", BigInteger, nullable=False, index=True),
    Column("revoked_ms", BigInteger),
    Column("reason", Text),  # of the revocation
)
Index("uq_credentials_serial", credentials.c.role, credentials.c.serial, unique=True)
Index("ix_credentials_name", credentials.c.role, credentials.c.name)
