"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "devices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("presence", sa.String(length=16), nullable=True),
        sa.Column("presence_reason", sa.String(length=64), nullable=True),
        sa.Column("presence_ms", sa.BigInteger(), nullable=True),
        sa.Column("boot_id", sa.String(length=64), nullable=True),
        sa.Column("heartbeat_interval_s", sa.Float(), nullable=True),
        sa.Column("skew_ms", sa.BigInteger(), nullable=True),
        sa.Column("agent_version", sa.String(length=64), nullable=True),
        sa.Column("onnxruntime_version", sa.String(length=64), nullable=True),
        sa.Column("groups", sa.JSON(), nullable=True),
        sa.Column("hardware", sa.JSON(), nullable=True),
        sa.Column("model_name", sa.String(length=64), nullable=True),
        sa.Column("model_version", sa.String(length=64), nullable=True),
        sa.Column("model_digest", sa.String(length=80), nullable=True),
        sa.Column("reported", sa.JSON(), nullable=True),
        sa.Column("evaluated_ms", sa.BigInteger(), nullable=True),
        sa.Column("evaluation_questions", sa.BigInteger(), nullable=True),
        sa.Column("exact_match", sa.Float(), nullable=True),
        sa.Column("f1", sa.Float(), nullable=True),
        sa.Column("telemetry_ms", sa.BigInteger(), nullable=True),
        sa.Column("answered", sa.BigInteger(), nullable=True),
        sa.Column("p50_ms", sa.Float(), nullable=True),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.Column("temperature_celsius", sa.Float(), nullable=True),
        sa.Column("throttled", sa.JSON(), nullable=True),
        sa.Column("resident_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("device", name=op.f("uq_devices_device")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_index(op.f("ix_quarantine_code"), "quarantine", ["code"], unique=False)
    op.create_index(op.f("ix_quarantine_received_ms"), "quarantine", ["received_ms"], unique=False)
    op.create_table(
        "records",
        sa.Column("boot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("device_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("boot", "seq", name=op.f("pk_records")),
    )
    op.create_index("ix_records_boot_time_ms", "records", ["boot", "time_ms"], unique=False)
    op.create_index(op.f("ix_records_received_ms"), "records", ["received_ms"], unique=False)
    op.create_table(
        "boots",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("epoch_ms", sa.BigInteger(), nullable=True),
        sa.Column("settled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("announced", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("announced_ms", sa.BigInteger(), nullable=True),
        sa.Column("held_from", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_boots_device_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_boots")),
        sa.UniqueConstraint("device_id", "boot_id", name=op.f("uq_boots_device_id_boot_id")),
    )
    op.create_table(
        "rollups",
        sa.Column(
            "device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("period", sa.String(length=8), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("model_digest", sa.String(length=80), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("covered_s", sa.Float(), nullable=False),
        sa.Column("answered", sa.BigInteger(), nullable=False),
        sa.Column("outcomes", sa.JSON(), nullable=False),
        sa.Column("total", sa.JSON(), nullable=True),
        sa.Column("inference", sa.JSON(), nullable=True),
        sa.Column("queue", sa.JSON(), nullable=True),
        sa.Column("temperature_max_celsius", sa.Float(), nullable=True),
        sa.Column("resident_bytes_max", sa.BigInteger(), nullable=True),
        sa.Column("cpu_load_mean", sa.Float(), nullable=True),
        sa.Column("reconnects", sa.BigInteger(), nullable=False),
        sa.Column("evaluations", sa.Integer(), nullable=False),
        sa.Column("evaluation_questions", sa.BigInteger(), nullable=False),
        sa.Column("exact_match", sa.Float(), nullable=True),
        sa.Column("f1", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_rollups_device_id")),
        sa.PrimaryKeyConstraint(
            "device_id", "period", "start_ms", "model_digest", name=op.f("pk_rollups")
        ),
    )
    op.create_index("ix_rollups_period_start_ms", "rollups", ["period", "start_ms"], unique=False)
    op.create_table(
        "rollups_due",
        sa.Column(
            "device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_rollups_due_device_id")
        ),
        sa.PrimaryKeyConstraint("device_id", "start_ms", name=op.f("pk_rollups_due")),
    )
    op.create_table(
        "evaluations",
        sa.Column("boot", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column(
            "device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("model_digest", sa.String(length=80), nullable=False),
        sa.Column("trigger", sa.String(length=16), nullable=False),
        sa.Column("dataset", sa.String(length=256), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("slice_id", sa.String(length=64), nullable=False),
        sa.Column("questions", sa.BigInteger(), nullable=False),
        sa.Column("exact_match", sa.Float(), nullable=False),
        sa.Column("exact_match_low", sa.Float(), nullable=False),
        sa.Column("exact_match_high", sa.Float(), nullable=False),
        sa.Column("f1", sa.Float(), nullable=False),
        sa.Column("f1_low", sa.Float(), nullable=False),
        sa.Column("f1_high", sa.Float(), nullable=False),
        sa.Column("total_ms", sa.Float(), nullable=False),
        sa.Column("mean_ms", sa.Float(), nullable=False),
        sa.Column("p50_ms", sa.Float(), nullable=False),
        sa.Column("p95_ms", sa.Float(), nullable=False),
        sa.Column("p99_ms", sa.Float(), nullable=False),
        sa.Column("paired", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["boot"], ["boots.id"], name=op.f("fk_evaluations_boot")),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name=op.f("fk_evaluations_device_id")
        ),
        sa.PrimaryKeyConstraint("boot", "seq", name=op.f("pk_evaluations")),
    )
    op.create_index(
        "ix_evaluations_device_id_time_ms", "evaluations", ["device_id", "time_ms"], unique=False
    )
    op.create_index(op.f("ix_evaluations_time_ms"), "evaluations", ["time_ms"], unique=False)
    op.create_table(
        "gaps",
        sa.Column("boot", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("found_ms", sa.BigInteger(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=True),
        sa.Column("asked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.ForeignKeyConstraint(["boot"], ["boots.id"], name=op.f("fk_gaps_boot")),
        sa.PrimaryKeyConstraint("boot", "first", name=op.f("pk_gaps")),
    )
    op.create_index(op.f("ix_gaps_state"), "gaps", ["state"], unique=False)
    op.create_table(
        "swaps",
        sa.Column("boot", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column(
            "device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=True),
        sa.Column("wish", sa.String(length=128), nullable=True),
        sa.Column("rollout", sa.String(length=128), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["boot"], ["boots.id"], name=op.f("fk_swaps_boot")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_swaps_device_id")),
        sa.PrimaryKeyConstraint("boot", "seq", name=op.f("pk_swaps")),
    )
    op.create_index("ix_swaps_device_id_time_ms", "swaps", ["device_id", "time_ms"], unique=False)
    op.create_index(op.f("ix_swaps_time_ms"), "swaps", ["time_ms"], unique=False)
