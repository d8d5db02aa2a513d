"""Records into their table, and what is derived from those that are new."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, literal_column, select, tuple_

from edgeqa.topics import Kind
from edgeqa_cloud import rows
from edgeqa_cloud.bulk import Row, Upsert
from edgeqa_cloud.identities import Identities
from edgeqa_cloud.reading import Refused
from edgeqa_cloud.stored import Placed, Stored
from edgeqa_cloud.tables import records, rollups_due

HOUR_MS = 3_600_000
QUARANTINED = "quarantined"
# An hour is rolled up so long after its end, at the earliest: until then one note that it is due is
# enough, whatever the difference between the clocks of several collectors.
ROLLUP_AFTER_MS = 600_000
# Hours of devices that are known to be noted; some 100 bytes each.
_MOST_NOTED = 400_000
_CHUNK = 400

_COLUMNS = ("boot", "seq", "kind", "time_ms", "device_time_ms", "received_ms", "payload")
# What came whole at last takes the place of what was put into quarantine.
_RECORDS = Upsert(
    records,
    _COLUMNS,
    key=("boot", "seq"),
    changes=lambda new: {name: new[name] for name in _COLUMNS[2:]},
    where=lambda _: records.c.kind == literal_column(f"'{QUARANTINED}'"),
    returning=True,
)
_SETTLED = Upsert(records, _COLUMNS, key=("boot", "seq"))
_DUE = Upsert(
    rollups_due,
    ("device_id", "start_ms", "mark"),
    key=("device_id", "start_ms"),
    changes=lambda new: {"mark": new.mark},
)


class Recording:
    """Thread: the writer's."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._noted: set[tuple[int, int]] = set()
        self._new_noted: set[tuple[int, int]] = set()

    def record(self, connection: Connection, placed: list[Placed], stored: Stored) -> None:
        """Insert the records and what follows from those that are new.

        Args:
            connection: a writing transaction.
            placed: sorted by key, each key once.
            stored: gets the result.
        """
        if not placed:
            return
        keys = _insert(connection, [_row(one) for one in placed])
        new = placed if keys is None else [one for one in placed if one.key in keys]
        stored.new = [one.message.body for one in new]
        stored.counts.update(one.message.kind for one in new)
        if len(new) < len(placed):
            was_there = {one.key for one in placed} - {one.key for one in new}
            stored.duplicates.update(one.message.kind for one in placed if one.key in was_there)
        _derive(connection, new)
        self._note_due(connection, new)

    def settle_refused(self, connection: Connection, refused: Iterable[Refused]) -> None:
        """A record that lies in quarantine has come: it is not asked for again."""
        settled = {}
        for one in refused:
            if one.device is None or one.boot_id is None or one.seq is None:
                continue
            boot = self._identities.boot((one.device, one.boot_id))
            at_ms = one.arrival.received_ms
            settled[boot.id, one.seq] = (boot.id, one.seq, QUARANTINED, at_ms, at_ms, at_ms, "")
        _SETTLED.run(connection, [settled[key] for key in sorted(settled)])

    def commit(self) -> None:
        """The transaction was committed."""
        if len(self._noted) > _MOST_NOTED:
            self._noted.clear()
        self._noted |= self._new_noted
        self.forget_new()

    def forget_new(self) -> None:
        """The transaction was not committed."""
        self._new_noted = set()

    def _note_due(self, connection: Connection, new: Iterable[Placed]) -> None:
        """That hours have records which their roll-ups lack.

        An hour that is not over yet is noted once by each collector and not again, as the note
        stays until then; otherwise each record would cost another row.
        """
        due = {}
        for one in new:
            if one.message.kind is Kind.SWAP:
                continue
            start_ms = one.time_ms // HOUR_MS * HOUR_MS
            key = one.boot.device_id, start_ms
            if start_ms + HOUR_MS <= one.message.arrival.received_ms:
                due[key] = True
            elif key not in self._noted:
                due[key] = True
                self._new_noted.add(key)
        _DUE.run(connection, [(*key, random.getrandbits(62)) for key in sorted(due)])


def _row(one: Placed) -> Row:
    body, arrival = one.message.body, one.message.arrival
    return (
        one.boot.id, body.seq, str(one.message.kind), one.time_ms, body.time_ms,
        arrival.received_ms, one.message.text,
    )  # fmt: skip


def _insert(connection: Connection, new: Sequence[Row]) -> set[Row] | None:
    """Insert; the keys of those that were not there, or None if that is all."""
    if connection.dialect.name != "sqlite":
        keys = _RECORDS.run_returning(connection, new)
        return None if len(keys) == len(new) else set(keys)
    savepoint = connection.begin_nested()
    if _RECORDS.run(connection, new) == len(new):
        savepoint.commit()
        return None
    # SQLite does not say which: look first, then. Nobody else writes meanwhile.
    savepoint.rollback()
    there: set[Row] = set()
    for start in range(0, len(new), _CHUNK):
        keys = [row[:2] for row in new[start : start + _CHUNK]]
        query = select(records.c.boot, records.c.seq).where(
            tuple_(records.c.boot, records.c.seq).in_(keys), records.c.kind != QUARANTINED
        )
        there |= {tuple(row) for row in connection.execute(query)}
    missing = [row for row in new if row[:2] not in there]
    _RECORDS.run(connection, missing)
    return {row[:2] for row in missing}


def _derive(connection: Connection, new: Iterable[Placed]) -> None:
    evaluated: list[Row] = []
    swapped: list[Row] = []
    serving: dict[int, Placed] = {}
    scored: dict[int, Placed] = {}
    for one in new:
        kind = one.message.kind
        if kind is Kind.TELEMETRY:
            _keep_latest(serving, one)
        elif kind is Kind.EVALUATION:
            evaluated.append(rows.evaluation_row(one))
            _keep_latest(scored, one)
        else:
            swapped.append(rows.swap_row(one))
    rows.EVALUATION_ROWS.run(connection, evaluated)
    rows.SWAP_ROWS.run(connection, swapped)
    rows.SERVING_FIGURES.run(connection, [rows.serving_figures(one) for one in _sorted(serving)])
    rows.SCORES.run(connection, [rows.scores(one) for one in _sorted(scored)])


def _keep_latest(latest: dict[int, Placed], one: Placed) -> None:
    before = latest.get(one.boot.device_id)
    if before is None or one.time_ms >= before.time_ms:
        latest[one.boot.device_id] = one


def _sorted(latest: dict[int, Placed]) -> list[Placed]:
    return [latest[device_id] for device_id in sorted(latest)]
