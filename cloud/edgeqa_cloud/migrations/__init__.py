"""Alembic's migrations of the cloud's database; run by `edgeqa_cloud.migrate`."""
