"""Wishes that the broker had and lost: a crash may cost it what it has not yet saved.

A device that was offline then would never learn what it shall run. So with each new connection the
wishes that devices have yet to follow are compared with what the broker retains, and those of
devices for which it retains nothing are published again. Where it retains another wish, somebody
made that one since.

Thread: the deployer's.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Collection

from sqlalchemy import Connection, and_, or_, select, update
from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Subscription
from edgeqa.topics import Kind, device_in, of_all_devices
from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.leadership import Leadership
from edgeqa_cloud.rollout.states import MemberState
from edgeqa_cloud.rollout.tables import rollout_claims, rollout_members, wishes

# A broker sends what it retains in one go.
_QUIET_S = 1.0
_MOST_S = 60.0
_LOOK_S = 0.02
_CHUNK = 900
_GOING_BACK = (MemberState.REVERTING.value, MemberState.REVERT_EXPIRED.value)


class LostWishes:
    """Asks the broker what it has.

    Args:
        database: with the wishes.
        leadership: without which nothing is written.
        broker: which is asked.
        stop: ends the asking.
    """

    def __init__(
        self,
        *,
        database: Database,
        leadership: Leadership,
        broker: Broker,
        stop: threading.Event,
        log: FilteringBoundLogger,
    ) -> None:
        self._database = database
        self._leadership = leadership
        self._broker = broker
        self._stop = stop
        self._log = log

    def any_awaited(self) -> bool:
        """Whether a device has a published wish yet to follow."""
        with self._database.reading() as connection:
            return bool(_awaited(connection))

    def put_back(self) -> int:
        """Have what was lost published again; how many wishes.

        Raises:
            BrokerError: no connection, or the broker does not let us read `model/desired`.
            LeaseLostError, DBAPIError: nothing was written.
        """
        with self._database.reading() as connection:
            awaited = _awaited(connection)
        if not awaited:
            return 0
        held = self._held(set(awaited.values()))
        lost = sorted(key for key, device in awaited.items() if device not in held)
        if not lost or self._stop.is_set():
            return 0
        with self._database.writing() as connection:
            self._leadership.renew(connection)
            for start in range(0, len(lost), _CHUNK):
                connection.execute(
                    update(wishes)
                    .where(wishes.c.id.in_(lost[start : start + _CHUNK]))
                    .values(published_ms=None)
                )
        self._log.warning("wishes_lost_by_broker", wishes=len(lost))
        return len(lost)

    def _held(self, wanted: Collection[str]) -> set[str]:
        """Devices for which the broker retains a wish, at least those wanted that it has."""
        held: set[str] = set()
        last = time.monotonic()

        def take(delivery: Delivery) -> None:
            nonlocal last
            device = device_in(delivery.topic)
            if delivery.retain and device in wanted and _is_wish(delivery.payload):
                held.add(device or "")
            last = time.monotonic()
            link.acknowledge(delivery)

        link = MqttLink(
            broker=self._broker,
            client_id=f"edgeqa-{secrets.token_hex(8)}",
            subscriptions=[Subscription(of_all_devices(Kind.DESIRED), take)],
            log=self._log,
        )
        link.start()
        try:
            last, deadline = time.monotonic(), time.monotonic() + _MOST_S
            while len(held) < len(wanted) and not self._stop.wait(_LOOK_S):
                if time.monotonic() > min(deadline, last + _QUIET_S):
                    break
        finally:
            link.stop()
        return held


def _awaited(connection: Connection) -> dict[int, str]:
    """Published wishes that devices have yet to follow, and whose they are."""
    member, claim = rollout_members.c, rollout_claims.c
    query = (
        select(wishes.c.id, wishes.c.device)
        .join(
            rollout_members,
            and_(
                member.rollout_id == wishes.c.rollout_id,
                member.device_id == wishes.c.device_id,
                or_(
                    and_(member.state == MemberState.WISHED.value, member.wish == wishes.c.wish),
                    and_(member.state.in_(_GOING_BACK), member.revert_wish == wishes.c.wish),
                ),
            ),
        )
        # Of a device that a newer rollout reached, only that one's wish matters.
        .join(
            rollout_claims,
            and_(claim.device_id == member.device_id, claim.rollout_id == member.rollout_id),
        )
        .where(wishes.c.published_ms.is_not(None))
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _is_wish(payload: bytes) -> bool:
    try:
        return isinstance(json.loads(payload), dict)
    except ValueError:
        return False
