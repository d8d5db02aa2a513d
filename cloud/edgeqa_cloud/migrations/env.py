"""What Alembic runs: each migration, on the connection that `edgeqa_cloud.migrate` hands over."""

from __future__ import annotations

from alembic import context

from edgeqa_cloud.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a column in place: Alembic copies the table instead.
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
