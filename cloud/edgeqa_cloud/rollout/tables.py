"""Tables of rollouts: what was ordered, where each device stands, what is to be published, and why.

Only the engine that holds the lease writes `rollouts` (after its creation), `rollout_members` and
`wishes`; people write `rollout_orders`. `audit` is only ever added to.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.types import JSON

from edgeqa_cloud.tables import key_type, metadata

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", key_type(), primary_key=True),  # the higher one is the newer
    Column("rollout", String(64), nullable=False, unique=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("spec", JSON, nullable=False),  # `RolloutSpec`
    Column("model_name", String(64), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("model_digest", String(80), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("code", String(64)),
    Column("reason", Text),
    Column("stage", Integer, nullable=False, server_default="0"),
    Column("stage_begun_ms", BigInteger),
    Column("soak_begun_ms", BigInteger),
    Column("promoted", Boolean, nullable=False, server_default=false()),
    Column("undo_begun_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("gates", JSON),  # last results, of `gates_stage` at `gates_ms`
    Column("gates_stage", Integer),
    Column("gates_ms", BigInteger),
    # Raised by each change of this row or of a member: the ETag, and what pages watch.
    Column("revision", BigInteger, nullable=False, server_default="1"),
    Column("updated_ms", BigInteger, nullable=False),
)

rollout_members = Table(
    "rollout_members",
    metadata,
    Column("rollout_id", ForeignKey("rollouts.id"), primary_key=True),
    Column("device_id", ForeignKey("devices.id"), primary_key=True),
    Column("stage", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("before_name", String(64)),
    Column("before_version", String(64)),
    Column("before_digest", String(80)),
    Column("wish", String(128)),
    Column("wished_ms", BigInteger),
    Column("online_when_wished", Boolean),
    Column("settled_ms", BigInteger),
    Column("revert_wish", String(128)),
    Column("reverting_ms", BigInteger),
    Column("code", String(64)),
    Column("message", Text),
    # `Served` before the wish: it cannot change any more, and is read once.
    Column("baseline", JSON),
)
Index("ix_rollout_members_rollout_id_state", rollout_members.c.rollout_id, rollout_members.c.state)
Index("ix_rollout_members_device_id", rollout_members.c.device_id)

rollout_orders = Table(
    "rollout_orders",
    metadata,
    Column("id", key_type(), primary_key=True),
    Column("rollout_id", ForeignKey("rollouts.id"), nullable=False),
    Column("action", String(16), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("note", Text, nullable=False),
    Column("ordered_ms", BigInteger, nullable=False),
    # `waiting`, `obeyed` or `refused`
    Column("state", String(8), nullable=False, index=True),
    Column("code", String(64)),
    Column("message", Text),
    Column("done_ms", BigInteger),
)

wishes = Table(
    "wishes",
    metadata,
    # Published in this order; of one device, only the newest matters.
    Column("id", key_type(), primary_key=True),
    Column("rollout_id", ForeignKey("rollouts.id"), nullable=False),
    Column("device_id", ForeignKey("devices.id"), nullable=False),
    Column("device", String(64), nullable=False),
    Column("wish", String(128)),
    Column("payload", Text, nullable=False),  # a `Desired`; empty takes the wish back
    Column("made_ms", BigInteger, nullable=False),
    Column("published_ms", BigInteger),  # when the broker had it
)
Index("ix_wishes_published_ms_id", wishes.c.published_ms, wishes.c.id)

# Which rollout a device belongs to: the newest that reached it.
rollout_claims = Table(
    "rollout_claims",
    metadata,
    Column("device_id", ForeignKey("devices.id"), primary_key=True),
    Column("rollout_id", ForeignKey("rollouts.id"), nullable=False),
)

device_tags = Table(
    "device_tags",
    metadata,
    Column("device_id", ForeignKey("devices.id"), primary_key=True),
    Column("tag", String(64), primary_key=True),
    Index("ix_device_tags_tag", "tag"),
)

packages = Table(
    "packages",
    metadata,
    # What the signed repository offers, as last read.
    Column("id", key_type(), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("digest", String(80), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("manifest", JSON, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    # Not offered any more; kept for the history.
    Column("gone_ms", BigInteger),
    UniqueConstraint("name", "version", "digest"),
)

# One row: how the last reading of the repository went.
catalogue = Table(
    "catalogue",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("tried_ms", BigInteger, nullable=False),
    Column("read_ms", BigInteger),
    Column("expires_ms", BigInteger),
    Column("code", String(64)),
    Column("message", Text),
)

audit = Table(
    "audit",
    metadata,
    Column("id", key_type(), primary_key=True),
    Column("time_ms", BigInteger, nullable=False, index=True),
    Column("actor", String(128), nullable=False),  # `engine`, `user:anna`, `token:ci`
    Column("action", String(64), nullable=False),
    Column("rollout", String(64), index=True),
    Column("device", String(64), index=True),
    Column("message", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
)
