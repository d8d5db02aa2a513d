"""A model process gives memory back when it is not asked, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgeqa_agent.idle import Idle, trim


class Calls:
    def __init__(self) -> None:
        self.count = 0
        self._came = threading.Semaphore(0)

    def __call__(self) -> None:
        self.count += 1
        self._came.release()

    def came(self, timeout_s: float = 10) -> bool:
        return self._came.acquire(timeout=timeout_s)


def started(idle: Idle) -> Callable[[], None]:
    threading.Thread(target=idle.run, daemon=True).start()
    return idle.worked


def test_it_comes_once_after_the_work_and_again_after_more() -> None:
    calls = Calls()
    worked = started(Idle(after_s=0.05, then=calls))
    assert not calls.came(0.2)  # nothing was done yet
    worked()
    assert calls.came()
    assert not calls.came(0.2)
    worked()
    assert calls.came()
    assert calls.count == 2


def test_it_waits_for_a_pause() -> None:
    calls = Calls()
    worked = started(Idle(after_s=30, then=calls))
    for _ in range(100):
        worked()
    assert not calls.came(0.2)


def test_memory_goes_back() -> None:
    def resident_kb() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  as short as can be
            return int(file.read().split()[1]) * 4

    pieces = [bytes(60_000) for _ in range(1500)]  # below malloc's threshold for mmap
    keep = pieces[::100]
    full = resident_kb()
    del pieces
    trim()
    assert resident_kb() < full - 40_000, "90 MB were freed"
    assert len(keep) == 15
