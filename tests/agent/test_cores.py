from __future__ import annotations

import threading

from edgeqa_agent.cores import Cores


def test_question_that_is_alone_gets_all_cores() -> None:
    cores = Cores(4)
    with cores.take(wanted_by_others=lambda: False) as alone:
        assert alone


def test_question_gets_one_core_where_others_are_ready_or_being_read() -> None:
    cores = Cores(2)
    with cores.take(wanted_by_others=lambda: True) as first:
        assert not first
        with cores.take(wanted_by_others=lambda: False) as second:
            assert not second
    with cores.take(wanted_by_others=lambda: False) as alone:
        assert alone


def test_question_waits_while_another_has_all_cores() -> None:
    cores = Cores(2)
    entered = threading.Event()

    def second() -> None:
        with cores.take(wanted_by_others=lambda: False):
            entered.set()

    thread = threading.Thread(target=second)
    with cores.take(wanted_by_others=lambda: False):
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(5)
    thread.join()
