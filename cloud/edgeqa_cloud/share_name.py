"""The name under which a group of collectors shares its subscription: nobody else can guess it.

Mosquitto gives each message of a shared subscription to one of its members, also to one who may not
read it: for that one it is dropped, and nobody else gets it. It checks no rule when somebody
subscribes, so whoever knew the name could eat the fleet's records. The first collector that starts
on a database makes a secret, and all of that database use it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.database import Database, DatabaseError, reason
from edgeqa_cloud.tables import leases

# Held by whoever came first and never given up: its holder is the secret.
_LEASE = "share-name"
_SECRET_BYTES = 32
# 128 bits, hexadecimal.
_DIGITS = 32
_FIRST = Upsert(leases, ("name", "holder", "until_ms"), key=("name",))


def share_name(database: Database, group: str) -> str:
    """The same for all collectors of a group on one database, now and later.

    Raises:
        DatabaseError: the database cannot be reached or written.
    """
    try:
        with database.writing() as connection:
            _FIRST.run(connection, [(_LEASE, secrets.token_hex(_SECRET_BYTES), 0)])
            holder = select(leases.c.holder).where(leases.c.name == _LEASE)
            secret: str = connection.execute(holder).scalar_one()
    except DBAPIError as error:
        raise DatabaseError(f"database {database.shown}: {reason(error)}") from error
    digest = hmac.digest(secret.encode(), group.encode(), hashlib.sha256)
    return f"{group}-{digest.hex()[:_DIGITS]}"
