"""All tables of the cloud's database, known to one `metadata`: for migrations and their tests."""

from __future__ import annotations

from edgeqa_cloud import tables
from edgeqa_cloud.access import tables as access_tables
from edgeqa_cloud.enrolment import tables as enrolment_tables
from edgeqa_cloud.rollout import tables as rollout_tables

metadata = tables.metadata
TABLES = (tables, rollout_tables, access_tables, enrolment_tables)
