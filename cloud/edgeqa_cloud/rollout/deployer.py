"""Publishes wishes: from the table `wishes` to the broker, retained, each until it has it.

The engine decides and writes; this only carries. It works while the lease is held and something
waits, over a connection of its own, which it opens when there is the first wish and closes when the
lease is lost: what lay in it unacknowledged must not reach the broker after another's newer wish.
What is under way is bounded, and what the broker acknowledged is noted in batches.

Thread: one of its own, `deployer`; acknowledgements come in the network thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from sqlalchemy.exc import DBAPIError
from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker
from edgeqa.errors import BrokerError
from edgeqa.exchange import NO_SUBSCRIBERS
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Outgoing
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.database import Database, reason
from edgeqa_cloud.rollout.leadership import Leadership, LeaseLostError
from edgeqa_cloud.rollout.lost_wishes import LostWishes
from edgeqa_cloud.rollout.wish_rows import WishRow, mark_published, unpublished

# Publications under way. Far more than a broker on the same continent needs to be kept busy, far
# less than what a link lets wait (`Limits.max_queued`).
WINDOW = 500
# Rows read at once, and noted at once.
_BATCH = 500
# The table is read again when so many places of the window are free.
_ROOM = 100
# Notes are written when so many are due, or this long after the first.
_NOTE_AFTER_S = 0.1
# A look at the table without being woken: wishes of a process that is no more.
_LOOK_EVERY_S = 5.0
# After a refusal of the broker's, and between tries to connect or to reach the database.
_RETRY_S = 2.0
# One try; whoever stops this waits for it.
_CONNECT_TIMEOUT_S = 5.0


class Deployer:
    """Use `start`, `wake` and `stop`.

    Args:
        database: with the table.
        leadership: of the engine; nothing is published without it.
        broker: where to.
        client_id: of its own at the broker.
        now_ms: for `published_ms`.
        link_type: of the connection.
    """

    def __init__(
        self,
        *,
        database: Database,
        leadership: Leadership,
        broker: Broker,
        client_id: str,
        now_ms: Callable[[], int],
        log: FilteringBoundLogger,
        link_type: type[MqttLink] = MqttLink,
    ) -> None:
        self._database = database
        self._leadership = leadership
        self._broker = replace(
            broker, connect_timeout_s=min(_CONNECT_TIMEOUT_S, broker.connect_timeout_s)
        )
        self._client_id = client_id
        self._now_ms = now_ms
        self._log = log
        self._link_type = link_type
        self._link: MqttLink | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._acknowledged: deque[tuple[WishRow, str | None, MqttLink]] = deque()
        self._under_way: dict[int, WishRow] = {}
        # Noted together with the newer wish of the same device.
        self._overtaken: dict[int, set[int]] = {}
        self._to_note: list[int] = []
        self._note_at: float | None = None
        self._after = 0
        self._retry_at = 0.0
        # Connections of the link up to which nothing is lost; None: nobody has looked.
        self._verified: int | None = None
        self._lost = LostWishes(
            database=database,
            leadership=leadership,
            broker=self._broker,
            stop=self._stop,
            log=log,
        )
        self._ill: str | None = None
        self._thread = threading.Thread(target=self._run, name="deployer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There are new wishes; or the lease is held anew, or lost."""
        self._wake.set()

    def stop(self) -> None:
        """End; what is not published yet is so by the next engine."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def connected(self) -> bool | None:
        """Whether the broker is there; None where there was no need to know."""
        link = self._link
        return None if link is None else link.connected

    def _run(self) -> None:
        wait_s: float = _LOOK_EVERY_S
        while not self._stop.is_set():
            self._wake.wait(wait_s)
            self._wake.clear()
            try:
                wait_s = self._step()
            except (DBAPIError, BrokerError) as error:
                self._troubled(error)
                wait_s = _RETRY_S
            except LeaseLostError:
                wait_s = _LOOK_EVERY_S
            except Exception:  # noqa: BLE001  a thread's edge
                self._log.exception("deployer_failed")
                wait_s = _RETRY_S
        with suppress(DBAPIError, LeaseLostError):
            self._take_acknowledged()
            self._note(at_once=True)
        self._disconnect()

    def _step(self) -> float:
        """Publish what may be published; seconds until there is something to do unasked."""
        if self._stop.is_set():
            return 0.0
        if not self._leadership.held:
            self._disconnect()
            return _LOOK_EVERY_S
        self._take_acknowledged()
        self._note()
        self._verify()
        wait_s = self._send()
        if self._note_at is not None:
            wait_s = min(wait_s, max(0.0, self._note_at - time.monotonic()))
        return wait_s

    def _verify(self) -> None:
        """With each new connection, see whether the broker has lost what it had."""
        if self._verified is None and self._link is None:
            if not self._lost.any_awaited():
                self._verified = 0
                return
            self._connected_link()
        link = self._link
        if link is None or not link.connected or link.connects == self._verified:
            return
        # There was nothing to lose when it was first connected.
        first = self._verified == 0 and link.connects == 1
        connects = link.connects
        try:
            if not first and self._lost.put_back():
                self._after = 0
        except BrokerError as error:
            self._log.warning("wishes_not_verified", code=error.code, reason=str(error))
        self._verified = connects

    def _send(self) -> float:
        left_s = self._retry_at - time.monotonic()
        if left_s > 0:
            return left_s
        while (room := WINDOW - len(self._under_way)) >= _ROOM:
            with self._database.reading() as connection:
                rows = unpublished(connection, after=self._after, limit=min(room, _BATCH))
            if not rows:
                break
            link = self._connected_link()
            newest = {row.device_id: row for row in rows}
            for row in rows:
                latest = newest[row.device_id]
                if row is latest:
                    self._publish(link, row)
                else:
                    self._overtaken.setdefault(latest.key, set()).add(row.key)
            self._after = rows[-1].key
        self._well()
        return _LOOK_EVERY_S

    def _publish(self, link: MqttLink, row: WishRow) -> None:
        def delivered(why: str | None) -> None:
            self._acknowledged.append((row, why, link))
            self._wake.set()

        self._under_way[row.key] = row
        topic = DeviceTopics(row.device).desired
        link.publish(Outgoing(topic, row.payload.encode(), retain=True), delivered)

    def _take_acknowledged(self) -> None:
        while self._acknowledged:
            row, why, link = self._acknowledged.popleft()
            if link is not self._link:
                continue  # of a connection that was given up: it is published again
            self._under_way.pop(row.key, None)
            # Retained all the same where nobody listens: the device is offline.
            if why in {None, NO_SUBSCRIBERS}:
                self._to_note += [*sorted(self._overtaken.pop(row.key, ())), row.key]
                if self._note_at is None:
                    self._note_at = time.monotonic() + _NOTE_AFTER_S
            else:
                self._refused(row, why)

    def _refused(self, row: WishRow, why: str | None) -> None:
        if self._retry_at <= time.monotonic():
            self._log.error("wish_refused_by_broker", device=row.device, reason=why)
        # All that is not noted is sent again, in order.
        self._again()
        self._retry_at = time.monotonic() + _RETRY_S

    def _note(self, *, at_once: bool = False) -> None:
        due = self._note_at is not None and (
            at_once or len(self._to_note) >= _BATCH or self._note_at <= time.monotonic()
        )
        if not due:
            return
        with self._database.writing() as connection:
            self._leadership.renew(connection)
            mark_published(connection, self._to_note, now_ms=self._now_ms())
        self._log.debug("wishes_published", wishes=len(self._to_note))
        self._to_note.clear()
        self._note_at = None

    def _connected_link(self) -> MqttLink:
        if self._link is None:
            link = self._link_type(
                broker=self._broker, client_id=self._client_id, subscriptions=(), log=self._log,
                on_ready=self._wake.set,
            )  # fmt: skip
            link.start()
            self._link = link
        return self._link

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.stop()
        self._overtaken.clear()
        self._to_note.clear()
        self._note_at = None
        self._verified = None
        self._again()

    def _again(self) -> None:
        """Read the table from its beginning: what is under way does not count as published.

        What a wish under way has overtaken is not forgotten: it must not follow it.
        """
        self._under_way.clear()
        self._after = 0

    def _troubled(self, error: DBAPIError | BrokerError) -> None:
        what = "broker" if isinstance(error, BrokerError) else "database"
        if self._ill != what:
            self._log.warning("deployer_waits", waits_for=what, reason=reason(error))
        self._ill = what
        if isinstance(error, BrokerError):
            self._again()

    def _well(self) -> None:
        if self._ill is not None:
            self._log.info("deployer_goes_on", waited_for=self._ill)
            self._ill = None
