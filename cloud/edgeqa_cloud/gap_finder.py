"""Finding gaps: what the broker has acknowledged to a device and the database does not hold.

A boot's `settled` is moved up to its first gap. What is missing is noted in `gaps`, and judged
again at each look: it comes (`filled`), or turns out to be nowhere (`lost`). One collector looks at
a time, with a lease.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, bindparam, delete, select, update

from edgeqa_cloud.bulk import Upsert
from edgeqa_cloud.database import Database
from edgeqa_cloud.gaps import Range, count, missing, within, without
from edgeqa_cloud.metrics import GapEvent
from edgeqa_cloud.tables import boots, gaps, records
from edgeqa_cloud.watching import Watcher

# Boots in one transaction, and numbers of each that are looked at: some 200,000 rows of an index.
_BOOTS = 200
_WINDOW = 1000
# Of one boot at a time; those after them are found when these are settled.
_MOST_GAPS = 64

OPEN, FILLED, LOST = "open", "filled", "lost"

_NEW = Upsert(gaps, ("boot", "first", "last", "found_ms", "state"), key=("boot", "first"))


@dataclass(frozen=True, slots=True)
class Gap:
    """A row of `gaps` that is open, and what of it is still missing."""

    boot: int
    first: int
    last: int
    found_ms: int
    asked: int
    asked_ms: int | None
    still: tuple[Range, ...]


@dataclass(slots=True)
class _Boot:
    id: int
    settled: int
    announced: int
    present: list[int] = field(default_factory=list)
    lost: list[Range] = field(default_factory=list)
    open: list[Gap] = field(default_factory=list)

    @property
    def until(self) -> int:
        return min(self.announced, self.settled + _WINDOW)


class GapFinder:
    """Thread: the jobs'."""

    def __init__(self, *, database: Database, watcher: Watcher) -> None:
        self._database = database
        self._watcher = watcher

    def look(self, *, now_ms: int) -> Iterator[list[Gap]]:
        """Look at all boots with something unsettled, some at a time; the gaps that are open."""
        after = 0
        while True:
            with self._database.writing() as connection:
                found = _unsettled(connection, after)
                if not found:
                    return
                open_gaps = self._judge(connection, found, now_ms)
            after = found[-1].id
            yield open_gaps

    def lose(self, connection: Connection, lost: Iterable[Gap]) -> None:
        """Give gaps up: nobody holds their records any more.

        What of them had come meanwhile stays; the rest counts as settled at the next look.
        """
        for gap in lost:
            change = (
                update(gaps)
                .where(gaps.c.boot == gap.boot, gaps.c.first == gap.first, gaps.c.state == OPEN)
                .values(state=LOST)
            )
            if connection.execute(change).rowcount:
                self._watcher.gap(GapEvent.LOST, count(gap.still))

    def _judge(self, connection: Connection, found: list[_Boot], now_ms: int) -> list[Gap]:
        open_gaps: list[Gap] = []
        new: list[tuple[int, int, int, int, str]] = []
        moved = []
        for boot in found:
            lacking = without(missing(boot.present, boot.settled + 1, boot.until), boot.lost)
            settled = lacking[0][0] - 1 if lacking else boot.until
            if settled > boot.settled:
                moved.append({"number": boot.id, "now": settled})
            for gap in boot.open:
                still = tuple(within(lacking, gap.first, gap.last))
                if still:
                    open_gaps.append(_with(gap, still))
                elif gap.last <= boot.until:
                    self._fill(connection, gap)
            known = [(gap.first, gap.last) for gap in boot.open]
            room = max(0, _MOST_GAPS - len(known))
            new += [
                (boot.id, first, last, now_ms, OPEN)
                for first, last in without(lacking, known)[:room]
            ]
        _NEW.run(connection, new)
        if moved:
            change = update(boots).where(boots.c.id == bindparam("number"))
            connection.execute(change.values(settled=bindparam("now")), moved)
        return open_gaps

    def _fill(self, connection: Connection, gap: Gap) -> None:
        row = and_(gaps.c.boot == gap.boot, gaps.c.first == gap.first)
        if gap.asked:
            connection.execute(update(gaps).where(row).values(state=FILLED))
            self._watcher.gap(GapEvent.FILLED, gap.last - gap.first + 1)
        else:
            connection.execute(delete(gaps).where(row))  # it was on its way


def _with(gap: Gap, still: tuple[Range, ...]) -> Gap:
    return Gap(gap.boot, gap.first, gap.last, gap.found_ms, gap.asked, gap.asked_ms, still)


def _unsettled(connection: Connection, after: int) -> list[_Boot]:
    query = (
        select(boots.c.id, boots.c.settled, boots.c.announced)
        .where(boots.c.id > after, boots.c.announced > boots.c.settled)
        .order_by(boots.c.id)
        .limit(_BOOTS)
    )
    found = {row[0]: _Boot(*row) for row in connection.execute(query)}
    if not found:
        return []
    there = (
        select(records.c.boot, records.c.seq)
        .join(boots, boots.c.id == records.c.boot)
        .where(
            boots.c.id.in_(found),
            records.c.seq > boots.c.settled,
            records.c.seq <= boots.c.announced,
            records.c.seq <= boots.c.settled + _WINDOW,
        )
        .order_by(records.c.boot, records.c.seq)
    )
    for number, seq in connection.execute(there):
        found[number].present.append(seq)
    for boot, gap_list in _noted(connection, list(found)).items():
        for gap, state in gap_list:
            if state == LOST:
                found[boot].lost.append((gap.first, gap.last))
            else:
                found[boot].open.append(gap)
    return list(found.values())


def _noted(connection: Connection, numbers: list[int]) -> dict[int, list[tuple[Gap, str]]]:
    query = select(
        gaps.c.boot, gaps.c.first, gaps.c.last, gaps.c.found_ms, gaps.c.asked, gaps.c.asked_ms,
        gaps.c.state,
    ).where(gaps.c.boot.in_(numbers), gaps.c.state.in_((OPEN, LOST)))  # fmt: skip
    noted: dict[int, list[tuple[Gap, str]]] = defaultdict(list)
    for boot, first, last, found_ms, asked, asked_ms, state in connection.execute(query):
        noted[boot].append((Gap(boot, first, last, found_ms, asked, asked_ms, ()), state))
    return noted
