"""The database of a run: a file, a PostgreSQL of its own, or one that is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeqa.postgres_process import PostgresServer

HELP = "`sqlite`, a file of its own; `postgresql`, a server of its own; or the URL of an empty one."


@contextmanager
def database_url(wanted: str, folder: Path) -> Iterator[str]:
    """Its URL, inside the block.

    Raises:
        EdgeqaError: PostgreSQL is not installed, or does not start.
    """
    if wanted == "sqlite":
        yield f"sqlite:///{folder}/cloud.db"
    elif wanted == "postgresql":
        server = PostgresServer(folder / "postgresql", durable=True)
        server.make()
        with server.running():
            yield server.url
    else:
        yield wanted
