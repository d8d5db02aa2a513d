"""The outbox against a list, in any order of what can happen to it."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.outboxes import Box, numbers, rows, swap, telemetry

from edgeqa.outbox import Bounds
from edgeqa.telemetry_messages import SeqRange

MAX_ROWS = 7
KEEP_S = 3


@dataclass
class Entry:
    """One record as the model knows it; `sent_at` is None while it waits."""

    boot: int
    seq: int
    kind: str
    sent_at: float | None = None


class OutboxMachine(RuleBasedStateMachine):
    """`held` is the list; it is the outbox's rows in the order in which they were appended."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        bounds = Bounds(max_rows=MAX_ROWS, keep_sent_s=KEEP_S)
        self.box = Box(Path(self.folder.name), bounds=bounds)
        self.held: list[Entry] = []
        self.dropped: Counter[str] = Counter()
        self.last: Counter[int] = Counter()
        self.settled: Counter[int] = Counter()
        self.boot = 0
        self.running_s = 0
        self.written_s = 0
        self._open()

    def _open(self) -> None:
        self.file = self.box.file(durable=False)
        self.outbox = self.box.open(f"boot-{self.boot}", file=self.file)

    @rule(
        kind=st.sampled_from(["telemetry", "telemetry", "swap"]),
        count=st.integers(1, 4),
        seconds=st.sampled_from([0, 1, KEEP_S + 1]),
        days=st.integers(-9, 9),
    )
    def append(self, kind: str, count: int, seconds: int, days: int) -> None:
        """After some time, with a clock that was set meanwhile."""
        self.running_s += seconds
        self.box.uptime_ms += seconds * 1000
        self.box.wall_ms += days * 86_400_000
        for _ in range(count):
            self.last[self.boot] += 1
            self.held.append(Entry(self.boot, self.last[self.boot], kind))
            self.written_s = max(self.written_s, self.running_s)
            self._expire()
            self._trim()
            self._settle()
        (telemetry if kind == "telemetry" else swap)(self.outbox, count)

    @precondition(lambda self: self.waits())
    @rule(first=st.sampled_from([0, 0, 1]), count=st.integers(1, 5))
    def mark_sent(self, first: int, count: int) -> None:
        found = rows(self.outbox)
        waiting = [entry for entry in self.held if entry.sent_at is None]
        chosen = range(first, min(first + count, len(waiting)))
        self.outbox.mark_sent([found[n].id for n in chosen])
        for n in chosen:
            waiting[n].sent_at = self.running_s
        self._settle()
        self._expire()

    @precondition(lambda self: self.held)
    @rule(boots_ago=st.sampled_from([0, 0, 1, 2]), first=st.integers(1, 9), size=st.integers(0, 6))
    def resend(self, boots_ago: int, first: int, size: int) -> None:
        boot, last = self.boot - boots_ago, first + size
        wanted = [e for e in self.held if e.boot == boot and first <= e.seq <= last]
        asked = (
            [
                SeqRange(boot_id=f"boot-{max(0, boot)}", first=first, last=last),
            ]
            if boot >= 0
            else [SeqRange(boot_id="never", first=first, last=last)]
        )
        assert self.outbox.resend(asked) == (len(wanted), size + 1 - len(wanted))
        for entry in wanted:
            entry.sent_at = None

    @precondition(lambda self: len(self.held) > 3 and self.waits())
    @rule()
    def give_up_the_first(self) -> None:
        found = rows(self.outbox)
        if found:
            self.outbox.give_up(found[0].id)
            entry = next(e for e in self.held if e.sent_at is None)
            self.held.remove(entry)
            self.dropped[entry.kind] += 1
            self._settle()

    @precondition(lambda self: self.held)
    @rule(another_boot=st.sampled_from([False, False, True]))
    def open_again(self, another_boot: bool) -> None:
        """As after a failure of the disk, or a start of the agent."""
        self.file.close()
        if another_boot:
            self.boot += 1
            # Time is counted up to the last record that was written: more is not known after a cut.
            self.running_s = self.written_s
            self.box.uptime_ms = 0
        self._open()

    @invariant()
    def they_agree(self) -> None:
        waiting = [entry for entry in self.held if entry.sent_at is None]
        assert numbers(rows(self.outbox)) == [entry.seq for entry in waiting]
        state = self.outbox.state()
        assert state.waiting == len(waiting)
        assert +Counter(state.dropped) == +self.dropped
        assert self.outbox.acknowledged == self.settled[self.boot]
        assert telemetry_sizes(self) == state.bytes
        for told in self.outbox.held():
            boot = int(told.boot_id.removeprefix("boot-"))
            held = [e.seq for e in self.held if e.boot == boot]
            assert told.first == min(held, default=self.last[boot] + 1)
            assert told.last == self.settled[boot]

    def teardown(self) -> None:
        self.file.close()
        self.folder.cleanup()

    def waits(self) -> bool:
        return any(entry.sent_at is None for entry in self.held)

    def _expire(self) -> None:
        over = self.running_s - KEEP_S
        self.held = [e for e in self.held if e.sent_at is None or e.sent_at >= over]

    def _trim(self) -> None:
        while len(self.held) > MAX_ROWS:
            sent = sorted(
                (e for e in self.held if e.sent_at is not None), key=lambda e: e.sent_at or 0
            )
            first = [e for e in self.held if e.kind == "telemetry"]
            victim = (sent or first or self.held)[0]
            self.held.remove(victim)
            if victim.sent_at is None:
                self.dropped[victim.kind] += 1

    def _settle(self) -> None:
        for boot, last in self.last.items():
            known = self.settled[boot]
            waiting = [
                e.seq for e in self.held
                if e.boot == boot and e.sent_at is None and e.seq > known
            ]  # fmt: skip
            self.settled[boot] = min(waiting, default=last + 1) - 1


def telemetry_sizes(machine: OutboxMachine) -> int:
    """What the rows of the file sum up to, asked of the file itself."""
    with machine.file.reading() as db:
        (size,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM records").fetchone()
    return int(size)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
