"""Background questions: counted in no limit, blamed on no model, lost with no process."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import structlog
from support.lanes import activate, make_dispatcher, model
from support.swaps import L3

from edgeqa.messages import ModelRef
from edgeqa_agent.dispatcher import Dispatcher
from edgeqa_agent.jobs import Done, Job, Outcome, Task
from edgeqa_agent.model_process import ModelProcess
from edgeqa_agent.request import Request

ANSWER = Outcome([("x", 0, 1, 0.5)], 0.1, 1, 3.0)


class Asked:
    """A background question and what became of it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.codes: list[str | None] = []
        assert dispatcher.active is not None
        dispatcher.ask(
            dispatcher.active,
            Request([Task("q", "c", 1)], None, self._complete, background=True),
        )

    def _complete(self, outcomes: list[Outcome], begun_at: float, model: ModelRef | None) -> None:
        self.codes += [outcome.error[0] if outcome.error else None for outcome in outcomes]


def live(dispatcher: Dispatcher) -> bool:
    return dispatcher.offer(Request([Task("live", "c", 1)], None, lambda *_: None))


def test_it_takes_no_room_in_the_queue_and_is_waited_for_by_nobody() -> None:
    dispatcher = make_dispatcher()
    process = activate(dispatcher, model(), lambda _: None)
    Asked(dispatcher)
    assert process.jobs[0].background
    assert dispatcher.depth == 0
    assert dispatcher.drain(timeout_s=0)
    assert process.lane is not None
    assert not process.lane.hangs(timeout_s=-1)


def test_a_live_question_is_sent_beside_it_and_hangs_for_itself_alone() -> None:
    dispatcher = make_dispatcher()
    process = activate(dispatcher, model(), lambda _: None)
    Asked(dispatcher)
    assert live(dispatcher)
    assert [job.background for job in process.jobs] == [True, False]
    assert dispatcher.depth == 1
    assert process.lane is not None
    assert process.lane.hangs(timeout_s=-1)


def test_the_shadow_does_not_see_it() -> None:
    dispatcher = make_dispatcher()
    activate(dispatcher, model(), lambda _: ANSWER)
    seen: list[list[Task]] = []
    dispatcher.observer = lambda tasks, _: seen.append(tasks)
    assert Asked(dispatcher).codes == [None]
    assert seen == []
    live(dispatcher)
    assert len(seen) == 1


def test_the_death_of_its_process_refuses_it_and_harms_no_live_question() -> None:
    dispatcher = make_dispatcher()
    process = activate(dispatcher, model(), lambda _: None)
    asked = Asked(dispatcher)
    request = Request([Task("live", "c", 1)], None, lambda *_: None)
    dispatcher.offer(request)
    process.die()
    assert asked.codes == ["model_crashed"]
    assert dispatcher.depth == 1  # the live one waits for the next process
    assert request.attempts == 1


def test_another_model_takes_its_place_at_once_and_it_is_refused() -> None:
    dispatcher = make_dispatcher()
    old = activate(dispatcher, model("a"), lambda _: None)
    asked = Asked(dispatcher)
    activate(dispatcher, model("b"), lambda _: ANSWER)
    assert old.stopped
    assert asked.codes == ["model_crashed"]


def test_a_lane_that_was_ended_refuses_what_comes_late() -> None:
    dispatcher = make_dispatcher()
    old = activate(dispatcher, model("a"), lambda _: None)
    activate(dispatcher, model("b"), lambda _: None)
    codes: list[str] = []
    request = Request(
        [Task("q", "c", 1)],
        None,
        lambda outcomes, *_: codes.extend(o.error[0] for o in outcomes if o.error),
        background=True,
    )
    assert old.lane is not None
    dispatcher.ask(old.lane, request)
    assert codes == ["model_crashed"]
    assert not old.jobs


@pytest.mark.system
def test_a_real_process_reads_it_at_the_lowest_priority_and_answers_alike() -> None:
    done: dict[int, Done] = {}
    arrived = threading.Condition()

    def on_done(report: Done) -> None:
        with arrived:
            done[report.number] = report
            arrived.notify_all()

    process = ModelProcess(
        package=L3, threads=2, on_done=on_done, on_exit=lambda: None, log=structlog.get_logger()
    )
    process.start(timeout_s=60)
    try:
        task = Task("Where does it stand?", "The sensor stands on the roof of the hall.", 1)
        process.submit(Job(1, [task], None, background=True))
        process.submit(Job(2, [task, task], None))
        process.submit(Job(3, [task], time.monotonic() - 1, background=True))
        with arrived:
            assert arrived.wait_for(lambda: len(done) == 3, 30)
        threads = Path(f"/proc/{process.pid}/task").iterdir()
        # Source: proc_pid_stat(5), field 19; the second, the name, may hold spaces.
        nice = [int((one / "stat").read_text().rpartition(")")[2].split()[16]) for one in threads]
    finally:
        process.stop()
    assert nice.count(19) == 1
    assert done[1].outcomes[0].spans[0][0] == done[2].outcomes[0].spans[0][0]
    assert done[3].outcomes[0].error is not None
    assert done[3].outcomes[0].error[0] == "expired"
