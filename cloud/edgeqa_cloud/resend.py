"""Asking devices for missing records, and reading what they reply.

A gap is claimed in the database before it is asked for, so that a collector whose lease ran out and
its successor do not both ask. The reply says how many of the records the device does not hold any
more: if that is all of them, they are lost.

Thread: the jobs', except `reply`.
"""

from __future__ import annotations

import queue
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from structlog.typing import FilteringBoundLogger

from edgeqa.commands import NUMBERS, read_reply
from edgeqa.errors import AnswerError, BrokerError
from edgeqa.model_messages import Verb
from edgeqa.packets import Delivery, Outgoing
from edgeqa.telemetry_messages import MAX_RANGES, ResendCommand, SeqRange
from edgeqa.topics import DeviceTopics
from edgeqa_cloud.asking import AskingRules, Step
from edgeqa_cloud.database import Database
from edgeqa_cloud.gap_finder import OPEN, Gap, GapFinder
from edgeqa_cloud.gaps import count
from edgeqa_cloud.metrics import GapEvent
from edgeqa_cloud.presence import Presence, judge
from edgeqa_cloud.tables import boots, devices, gaps
from edgeqa_cloud.watching import Watcher

# A device that is there obeys within seconds; later the order is void.
_EXPIRY_S = 60
# Devices asked in one look: what comes back is up to MAX_RANGES windows of records of each.
_MOST_DEVICES = 100
# Replies that are waited for, and that wait to be read.
_MOST_OPEN = 10_000
_CORRELATION_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Device:
    device: str
    boot_id: str
    held_from: int | None
    online: bool


class Resend:
    """Asks for gaps.

    Args:
        database: where gaps are claimed.
        finder: gives lost ones up.
        publish: to the broker.
        reply_topic: where devices reply to.
        rules: when.
        watcher: counts.
        log: for what is asked and lost.
    """

    def __init__(
        self,
        *,
        database: Database,
        finder: GapFinder,
        publish: Callable[[Outgoing], None],
        reply_topic: str,
        rules: AskingRules,
        watcher: Watcher,
        log: FilteringBoundLogger,
    ) -> None:
        self._database = database
        self._finder = finder
        self._publish = publish
        self._reply_topic = reply_topic
        self._rules = rules
        self._watcher = watcher
        self._log = log
        self._asked: OrderedDict[bytes, tuple[str, list[Gap]]] = OrderedDict()
        self._replies: queue.Queue[tuple[bytes, bytes]] = queue.Queue(_MOST_OPEN)

    def reply(self, delivery: Delivery) -> None:
        """A device replied. Thread: any."""
        try:
            self._replies.put_nowait((delivery.correlation or b"", delivery.payload))
        except queue.Full:
            pass  # the gap is asked for again

    def look(self, *, now_ms: int) -> None:
        """Read replies, look for gaps, and ask for those whose time has come."""
        self._read_replies()
        room = _MOST_DEVICES
        for open_gaps in self._finder.look(now_ms=now_ms):
            wanted = self._judge(open_gaps, now_ms)
            for device in sorted(wanted)[:room]:
                self._ask(device, wanted[device], now_ms)
            room = max(0, room - len(wanted))

    def _judge(self, open_gaps: list[Gap], now_ms: int) -> dict[str, list[tuple[str, Gap]]]:
        """By device, what to ask for; lost gaps are given up."""
        if not open_gaps:
            return {}
        wanted: dict[str, list[tuple[str, Gap]]] = defaultdict(list)
        lost = []
        with self._database.writing() as connection:
            known = _devices(connection, {gap.boot for gap in open_gaps}, now_ms)
            for gap in open_gaps:
                of = known[gap.boot]
                step = self._rules.step(
                    gap, held_from=of.held_from, online=of.online, now_ms=now_ms
                )
                if step is Step.ASK:
                    wanted[of.device].append((of.boot_id, gap))
                elif step is Step.LOSE:
                    lost.append(gap)
                    self._tell_lost(of.device, gap)
            self._finder.lose(connection, lost)
        return wanted

    def _ask(self, device: str, wanted: list[tuple[str, Gap]], now_ms: int) -> None:
        ranges: list[SeqRange] = []
        asked: list[Gap] = []
        with self._database.writing() as connection:
            for boot_id, gap in wanted:
                if len(ranges) + len(gap.still) > MAX_RANGES and ranges:
                    break
                if _claim(connection, gap, now_ms):
                    asked.append(gap)
                    ranges += [
                        SeqRange(boot_id=boot_id, first=first, last=last)
                        for first, last in gap.still[:MAX_RANGES]
                    ]
        if not ranges:
            return
        for gap in asked:
            if gap.asked == 0:
                self._watcher.gap(GapEvent.FOUND, count(gap.still))
        correlation = secrets.token_bytes(_CORRELATION_BYTES)
        command = ResendCommand(
            id=correlation.hex(),
            number=NUMBERS.next(),
            expires_ms=now_ms + 1000 * _EXPIRY_S,
            ranges=ranges,
        )
        message = Outgoing(
            topic=DeviceTopics(device).command(Verb.RESEND),
            payload=command.to_json(),
            response_topic=self._reply_topic,
            correlation=correlation,
            expiry_s=_EXPIRY_S,
        )
        try:
            self._publish(message)
        except BrokerError as error:
            self._log.warning("resend_not_sent", device=device, reason=str(error))
            return
        self._asked[correlation] = device, asked
        while len(self._asked) > _MOST_OPEN:
            self._asked.popitem(last=False)
        records = sum(count(gap.still) for gap in asked)
        self._log.info("resend_asked", device=device, records=records, ranges=len(ranges))
        self._watcher.asked_again()

    def _read_replies(self) -> None:
        while True:
            try:
                correlation, payload = self._replies.get_nowait()
            except queue.Empty:
                return
            device, asked = self._asked.pop(correlation, ("", []))
            if asked:
                self._read_reply(device, asked, payload)

    def _read_reply(self, device: str, asked: list[Gap], payload: bytes) -> None:
        reply = read_reply(payload, f"device {device}")
        if isinstance(reply, AnswerError):
            self._log.warning("resend_refused", device=device, code=reply.code, reason=str(reply))
            return
        if (reply.missing or 0) < sum(count(gap.still) for gap in asked):
            return  # some come; what is missing then is asked for alone
        with self._database.writing() as connection:
            self._finder.lose(connection, asked)
        for gap in asked:
            self._tell_lost(device, gap)

    def _tell_lost(self, device: str, gap: Gap) -> None:
        self._log.warning(
            "records_lost", device=device, records=count(gap.still), first=gap.first, last=gap.last
        )


def _claim(connection: Connection, gap: Gap, now_ms: int) -> bool:
    change = (
        update(gaps)
        .where(
            gaps.c.boot == gap.boot,
            gaps.c.first == gap.first,
            gaps.c.state == OPEN,
            gaps.c.asked == gap.asked,
        )
        .values(asked=gap.asked + 1, asked_ms=now_ms)
    )
    return bool(connection.execute(change).rowcount)


def _devices(connection: Connection, numbers: Iterable[int], now_ms: int) -> dict[int, _Device]:
    query = (
        select(
            boots.c.id, devices.c.device, boots.c.boot_id, boots.c.held_from, devices.c.presence,
            devices.c.last_seen_ms, devices.c.heartbeat_interval_s,
        )
        .join(devices, devices.c.id == boots.c.device_id)
        .where(boots.c.id.in_(numbers))
    )  # fmt: skip
    return {
        number: _Device(
            device,
            boot_id,
            held_from,
            judge(told=told, last_seen_ms=seen_ms, interval_s=interval_s, now_ms=now_ms)
            is Presence.ONLINE,
        )
        for number, device, boot_id, held_from, told, seen_ms, interval_s in connection.execute(
            query
        )
    }
