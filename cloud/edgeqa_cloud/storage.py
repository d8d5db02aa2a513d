"""One batch of messages into the database, in one transaction.

Exactly once: a record is known by its boot and `seq`; one that is there already changes nothing,
not even the figures that are derived from it. The order of the statements is the same everywhere
and their rows are sorted, so that two collectors rarely wait for each other crosswise.

Thread: the writer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from edgeqa.topics import Kind
from edgeqa_cloud.database import Database
from edgeqa_cloud.identities import BootKey, Identities
from edgeqa_cloud.placing import Placing
from edgeqa_cloud.quarantine import Keep, quarantine
from edgeqa_cloud.reading import RECORD_TOPICS, Message, Refused
from edgeqa_cloud.recording import Recording
from edgeqa_cloud.standings import Standings
from edgeqa_cloud.stored import Stored
from edgeqa_cloud.times import epoch_of

Item = Message | Refused


class Storage:
    """Stores batches.

    Args:
        database: where.
        keep: bounds of the quarantine.
    """

    def __init__(self, *, database: Database, keep: Keep) -> None:
        self._database = database
        self._keep = keep
        self._identities = Identities()
        self._standings = Standings(self._identities)
        self._placing = Placing(self._identities, self._standings)
        self._recording = Recording(self._identities)

    def store(self, items: Sequence[Item], *, quarantining: bool = True) -> Stored:
        """All of it, or nothing.

        Args:
            items: in the order of their coming.
            quarantining: put what is refused into quarantine.

        Raises:
            sqlalchemy.exc.DBAPIError, ValueError: what the database said.
        """
        try:
            with self._database.writing() as connection:
                stored = self._store(connection, items)
                if quarantining:
                    stored.dropped = quarantine(connection, stored.refused, self._keep)
        except BaseException:
            self._identities.forget_new()
            self._recording.forget_new()
            raise
        self._identities.commit()
        self._recording.commit()
        return stored

    def _store(self, connection: Connection, items: Sequence[Item]) -> Stored:
        messages = [item for item in items if isinstance(item, Message)]
        stored = Stored(refused=[item for item in items if isinstance(item, Refused)])
        self._resolve(connection, messages, stored.refused)
        self._learn_epochs(connection, messages)
        placed = self._placing.place(connection, messages, stored)
        self._recording.record(connection, placed, stored)
        self._standings.update(connection, messages, stored)
        self._recording.settle_refused(connection, stored.refused)
        return stored

    def _resolve(
        self, connection: Connection, messages: Iterable[Message], refused: Iterable[Refused]
    ) -> None:
        seen: dict[str, int] = {}
        booted: dict[BootKey, int] = {}
        for message in messages:
            at_ms = message.arrival.received_ms
            seen.setdefault(message.device, at_ms)
            body = message.body
            if body.boot_id is not None:
                booted.setdefault((message.device, body.boot_id), at_ms)
            if message.kind is not Kind.HEARTBEAT:
                continue
            for held in body.boots or ():
                booted.setdefault((message.device, held.boot_id), at_ms)
        for one in refused:
            if one.device is not None and one.boot_id is not None:
                seen.setdefault(one.device, one.arrival.received_ms)
                booted.setdefault((one.device, one.boot_id), one.arrival.received_ms)
        self._identities.resolve(connection, seen_ms=seen, boots_seen_ms=booted)

    def _learn_epochs(self, connection: Connection, messages: Iterable[Message]) -> None:
        """Heartbeats of this batch first: they are sent before the records that they date."""
        keys = set()
        for message in messages:
            if message.kind in RECORD_TOPICS:
                keys.add((message.device, message.body.boot_id))
            elif message.kind is Kind.HEARTBEAT:
                boot = self._identities.boot((message.device, message.body.boot_id))
                boot.epoch_ms = epoch_of(
                    received_ms=message.arrival.received_ms,
                    uptime_ms=message.body.uptime_ms,
                    known_ms=boot.epoch_ms,
                )
        self._identities.learn_epochs(connection, keys)
