"""Gaps: found, asked for once, filled or given up."""

from __future__ import annotations

import json
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st
from support.cloud import NOW_MS, Store, arrival, heartbeat, telemetry

from edgeqa.packets import Delivery, Outgoing
from edgeqa_cloud.asking import AskingRules
from edgeqa_cloud.gap_finder import GapFinder
from edgeqa_cloud.gaps import count, missing, within, without
from edgeqa_cloud.metrics import GapEvent
from edgeqa_cloud.resend import Resend
from edgeqa_cloud.tables import boots, gaps
from edgeqa_cloud.watching import Unwatched

numbers = st.sets(st.integers(1, 40))
RULES = AskingRules(settle_ms=1000, retry_ms=10_000, tries=3)


def all_of(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(numbers, st.integers(1, 40), st.integers(1, 40))
def test_ranges_are_what_sets_say(present: set[int], first: int, last: int) -> None:
    lacking = missing(sorted(present), first, last)
    assert all_of(lacking) == set(range(first, last + 1)) - present
    assert count(lacking) == len(all_of(lacking))
    assert all_of(within(lacking, 10, 20)) == all_of(lacking) & set(range(10, 21))


@given(numbers, numbers)
def test_without_is_a_difference_of_sets(some: set[int], others: set[int]) -> None:
    mine = missing(sorted(set(range(1, 41)) - some), 1, 40)
    theirs = missing(sorted(set(range(1, 41)) - others), 1, 40)
    assert all_of(without(mine, theirs)) == some - others


class Counting(Unwatched):
    def __init__(self) -> None:
        self.counts = dict.fromkeys(GapEvent, 0)

    def gap(self, event: GapEvent, records: int) -> None:
        self.counts[event] += records


class Asker:
    """A `Resend` whose commands are kept, over a database."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sent: list[Outgoing] = []
        self.watcher = Counting()
        self.now_ms = NOW_MS
        self.resend = Resend(
            database=store.database,
            finder=GapFinder(database=store.database, watcher=self.watcher),
            publish=self.sent.append,
            reply_topic="edgeqa/v1/clients/collector/answers",
            rules=RULES,
            watcher=self.watcher,
            log=structlog.get_logger(),
        )

    def beat(self, seq: int, **fields: Any) -> None:
        body = heartbeat(uptime_ms=self.now_ms - NOW_MS + 1000, seq=seq, **fields)
        self.store.store(arrival("heartbeat", body, at_ms=self.now_ms))

    def records(self, *seqs: int, boot_id: str = "0b2f7a1e") -> None:
        self.store.store(
            *(
                arrival("telemetry", telemetry(seq=seq, boot_id=boot_id, time_ms=NOW_MS))
                for seq in seqs
            )
        )

    def look(self, *, after_ms: int = 0) -> list[dict[str, Any]]:
        """The ranges of the commands that this look sent."""
        self.now_ms += after_ms
        self.sent.clear()
        self.resend.look(now_ms=self.now_ms)
        return [one for sent in self.sent for one in json.loads(sent.payload)["ranges"]]

    def reply(self, to: Outgoing, *, queued: int, gone: int) -> None:
        payload = {
            "schema": 1, "status": "ok", "verb": "resend", "device": "pi5", "boot_id": "x",
            "queued": queued, "missing": gone,
        }  # fmt: skip
        self.resend.reply(
            Delivery(
                "",
                json.dumps(payload).encode(),
                False,
                False,
                None,
                to.correlation,
                None,
                0.0,
                None,
            )
        )

    @property
    def settled(self) -> int:
        return int(self.store.rows(boots)[0].settled)

    @property
    def states(self) -> list[tuple[int, int, str]]:
        return [(row.first, row.last, row.state) for row in self.store.rows(gaps)]


def test_a_gap_is_asked_for_after_it_has_settled_and_filled_by_what_comes(store: Store) -> None:
    asker = Asker(store)
    asker.beat(10)
    asker.records(1, 2, 5, 6, 9)
    assert asker.look() == []  # it may still be on its way
    assert asker.settled == 2
    asked = asker.look(after_ms=1500)
    assert [(one["first"], one["last"]) for one in asked] == [(3, 4), (7, 8), (10, 10)]
    assert asker.sent[0].topic == "edgeqa/v1/devices/pi5/commands/resend"
    assert asker.sent[0].expiry_s
    asker.records(3, 4, 8)
    assert asker.look(after_ms=500) == []  # asked for already
    assert asker.settled == 6
    asker.beat(10)
    again = asker.look(after_ms=10_000)
    assert [(one["first"], one["last"]) for one in again] == [(7, 7), (10, 10)]
    asker.records(7, 10)
    assert asker.look() == []
    assert asker.settled == 10
    assert {state for *_, state in asker.states} == {"filled"}
    assert asker.watcher.counts == {GapEvent.FOUND: 5, GapEvent.FILLED: 5, GapEvent.LOST: 0}


def test_what_comes_by_itself_was_no_gap(store: Store) -> None:
    asker = Asker(store)
    asker.beat(3)
    asker.look()
    asker.records(1, 2, 3)
    assert asker.look(after_ms=5000) == []
    assert (asker.settled, asker.states) == (3, [])


def test_two_collectors_do_not_both_ask(store: Store) -> None:
    asker, other = Asker(store), Asker(store)
    asker.beat(2)
    asker.look()
    open_gaps = next(iter(GapFinder(database=store.database, watcher=Unwatched()).look(
        now_ms=asker.now_ms)))  # fmt: skip
    assert len(asker.look(after_ms=2000)) == 1
    other.resend._ask("pi5", [("0b2f7a1e", open_gaps[0])], asker.now_ms)  # it looked before
    assert other.sent == []


def test_a_device_that_is_away_is_not_asked(store: Store) -> None:
    asker = Asker(store)
    asker.beat(2)
    asker.look()
    away = {"schema": 1, "status": "offline", "device": "pi5", "boot_id": "0b2f7a1e"}
    store.store(arrival("status", away, at_ms=NOW_MS + 10))
    assert asker.look(after_ms=100_000) == []
    asker.beat(2)
    assert len(asker.look()) == 1


def test_what_the_device_does_not_hold_is_lost(store: Store) -> None:
    asker = Asker(store)
    asker.beat(6)
    asker.records(1, 4)
    asker.look()
    asker.look(after_ms=2000)
    asker.reply(asker.sent[0], queued=1, gone=3)
    asker.look()
    assert {state for *_, state in asker.states} == {"open"}  # one of them comes: which, will show
    asker.records(2)
    asker.beat(6)
    asked = asker.look(after_ms=11_000)
    assert [(one["first"], one["last"]) for one in asked] == [(3, 3), (5, 6)]
    asker.reply(asker.sent[0], queued=0, gone=3)
    asker.look()
    asker.look()
    assert asker.settled == 6
    assert asker.watcher.counts[GapEvent.LOST] == 3


def test_what_is_below_the_oldest_held_is_lost_without_asking(store: Store) -> None:
    asker = Asker(store)
    held = [{"boot_id": "earlier", "first": 5, "last": 6}]
    asker.beat(0, boots=held)
    asker.look()
    asked = asker.look(after_ms=2000)
    assert [(one["boot_id"], one["first"], one["last"]) for one in asked] == [("earlier", 1, 6)]
    asker.records(5, 6, boot_id="earlier")
    asker.look(after_ms=11_000)
    asker.look()
    earlier = store.one(boots, boot_id="earlier")
    assert earlier.settled == 6
    assert asker.watcher.counts[GapEvent.LOST] == 4


def test_a_gap_is_given_up_after_its_tries(store: Store) -> None:
    asker = Asker(store)
    asker.beat(1)
    asker.look()
    asks = 0
    for _ in range(10):
        asker.beat(1)
        asks += len(asker.look(after_ms=100_000))
    assert asks == RULES.tries
    assert asker.settled == 1


def test_a_quarantined_record_is_not_asked_for(store: Store) -> None:
    asker = Asker(store)
    asker.beat(1)
    store.store(arrival("telemetry", telemetry(seq=1, cpu_load=9)))
    assert asker.look() == []
    assert asker.settled == 1


def test_an_announcement_out_of_this_world_costs_little(store: Store) -> None:
    asker = Asker(store)
    asker.beat(2**53 - 1)
    asker.look()
    asked = asker.look(after_ms=2000)
    assert len(asked) == 1
    assert asked[0]["last"] < 10_000
