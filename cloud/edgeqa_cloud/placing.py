"""Giving each record of a batch its boot and its time; a time that cannot be is refused."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from edgeqa_cloud.identities import Identities
from edgeqa_cloud.reading import RECORD_TOPICS, Message, refuse
from edgeqa_cloud.standings import Standings
from edgeqa_cloud.stored import Placed, Stored
from edgeqa_cloud.times import time_of


class Placing:
    """Thread: the writer's."""

    def __init__(self, identities: Identities, standings: Standings) -> None:
        self._identities = identities
        self._standings = standings

    def place(
        self, connection: Connection, messages: Iterable[Message], stored: Stored
    ) -> list[Placed]:
        """The records, sorted by key, each key once; the refused are added to `stored`."""
        wanted = [message for message in messages if message.kind in RECORD_TOPICS]
        boots = [self._identities.boot((one.device, one.body.boot_id)) for one in wanted]
        skews = self._standings.skews(
            connection, {boot.device_id for boot in boots if boot.epoch_ms is None}
        )
        placed: dict[tuple[int, int], Placed] = {}
        for message, boot in zip(wanted, boots, strict=True):
            body = message.body
            time_ms = time_of(
                uptime_ms=body.uptime_ms,
                device_time_ms=body.time_ms,
                received_ms=message.arrival.received_ms,
                epoch_ms=boot.epoch_ms,
                skew_ms=skews.get(boot.device_id),
            )
            if time_ms is None:
                why = f"device time {body.time_ms} ms, uptime {body.uptime_ms} ms"
                stored.refused.append(
                    refuse(message.arrival, message.kind, message.device, "impossible_time", why)
                )
                continue
            one = Placed((boot.id, body.seq), message, boot, time_ms)
            if placed.setdefault(one.key, one) is not one:
                stored.duplicates[message.kind] += 1
        return [placed[key] for key in sorted(placed)]
