"""Whether the database holds exactly what outboxes held: each record once, with its payload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import delete, func, select

from edgeqa_cloud.database import Database
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.simulate.ledger import Entry, payload_digest
from edgeqa_cloud.tables import boots, devices, gaps, leases, quarantine, records

# Named in full in a report; the rest is counted.
_NAMED = 5


@dataclass
class Verdict:
    """What the check found.

    Attributes:
        expected: records that outboxes held.
        stored: rows of the database.
        missing, different, foreign: records that are not there, there with another payload,
            and rows that no outbox held.
        quarantined: messages in quarantine.
    """

    expected: int = 0
    stored: int = 0
    missing: list[Entry] = field(default_factory=list)
    different: list[Entry] = field(default_factory=list)
    foreign: list[Entry] = field(default_factory=list)
    quarantined: int = 0

    @property
    def exact(self) -> bool:
        """Every record once, as it was written, and nothing else."""
        return not (self.missing or self.different or self.foreign)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.expected:,} records in outboxes, {self.stored:,} in the database"
        for what in ("missing", "different", "foreign"):
            found: list[Entry] = getattr(self, what)
            if found:
                some = ", ".join(f"{e.device}/{e.boot_id[:8]}/{e.seq}" for e in found[:_NAMED])
                yield f"{len(found):,} {what}: {some}{' …' if len(found) > _NAMED else ''}"
        if self.quarantined:
            yield f"{self.quarantined:,} messages in quarantine"
        yield "exactly once" if self.exact else "NOT exact"

    def as_dict(self) -> dict[str, int | bool]:
        """For JSON."""
        return {
            "expected": self.expected,
            "stored": self.stored,
            "missing": len(self.missing),
            "different": len(self.different),
            "foreign": len(self.foreign),
            "quarantined": self.quarantined,
            "exact": self.exact,
        }


def open_database(url: str) -> Database:
    """The database under test."""
    return Database.of(DatabaseSettings(database=url))


def count_rows(database: Database) -> int:
    """Rows now."""
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(records)).scalar_one())


def asked_again(database: Database) -> tuple[int, int]:
    """Gaps that were found, and how often they were asked for."""
    query = select(func.count(), func.coalesce(func.sum(gaps.c.asked), 0)).select_from(gaps)
    with database.reading() as connection:
        found, asked = connection.execute(query).one()
    return int(found), int(asked)


def end_leases(database: Database) -> None:
    """As if the time were over for which a collector that was killed keeps the jobs to itself."""
    with database.writing() as connection:
        connection.execute(delete(leases))


def lags_ms(database: Database, *, since_ms: int) -> list[float]:
    """From the writing of each record to its receipt; the clocks must be one."""
    written = records.c.device_time_ms
    query = select(records.c.received_ms, written).where(written >= since_ms)
    with database.reading() as connection:
        rows = connection.execute(query)
        return [float(received - written) for received, written in rows]


def check(database: Database, ledger: Iterable[Entry], *, bad_boots: str = "malformed-") -> Verdict:
    """Hold the database against what was written.

    Args:
        ledger: every record of every outbox, each once.
        bad_boots: boots with this prefix, and malformed names, are faults made on purpose.
    """
    verdict = Verdict()
    stored: dict[tuple[str, str, int], str] = {}
    query = (
        select(devices.c.device, boots.c.boot_id, records.c.seq, records.c.kind, records.c.payload)
        .join_from(records, boots, records.c.boot == boots.c.id)
        .join(devices, boots.c.device_id == devices.c.id)
    )
    with database.reading() as connection:
        for device, boot_id, seq, kind, payload in connection.execute(query):
            if boot_id.startswith(bad_boots):
                continue
            digest = payload_digest(payload.encode()) if kind != "quarantined" else "quarantined"
            stored[device, boot_id, seq] = digest
        quarantined = select(func.count()).select_from(quarantine)
        verdict.quarantined = int(connection.execute(quarantined).scalar_one())
    verdict.stored = len(stored)
    for entry in ledger:
        verdict.expected += 1
        digest = stored.pop((entry.device, entry.boot_id, entry.seq), None)
        if digest is None:
            verdict.missing.append(entry)
        elif digest != entry.digest:
            verdict.different.append(entry)
    verdict.foreign = [Entry(*key, digest) for key, digest in stored.items()]
    return verdict
