"""Self-evaluation: when, of what, how it gives way, and what it survives."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs
from support.evaluations import (
    Clock,
    Device,
    FixedQuestions,
    active,
    an_example,
    examples,
    says,
)
from support.lanes import FakeProcess, activate, make_dispatcher, model

from edgeqa.errors import DataError, EdgeqaError, PayloadError
from edgeqa.messages import ModelRef
from edgeqa.model_messages import CommandReply
from edgeqa.outbox import Outbox, OutboxFile
from edgeqa.packets import Outgoing
from edgeqa.telemetry_messages import EvaluateCommand, Evaluation, Trigger
from edgeqa.topics import DeviceTopics
from edgeqa_agent.jobs import Outcome, Task, refused
from edgeqa_agent.quiet import Quiet
from edgeqa_agent.request import Request
from edgeqa_agent.selfeval_memory import MAX_MODELS, Memory
from edgeqa_agent.selfeval_orders import Routine
from edgeqa_agent.selfeval_pace import Budget, Pace
from edgeqa_agent.selfeval_wiring import Evaluating
from edgeqa_agent.settings import AgentSettings


def a_device(folder: Path, count: int = 100, **options: object) -> tuple[Device, FakeProcess]:
    dispatcher = make_dispatcher()
    process = activate(dispatcher, model("a"), says("blue"))
    device = Device(folder, dispatcher, FixedQuestions(examples(count)), **options)  # type: ignore[arg-type]
    return device, process


def swap_in(device: Device, process: FakeProcess, name: str, text: str) -> FakeProcess:
    del device
    assert process.dispatcher is not None
    return activate(process.dispatcher, model(name), says(text))


def test_the_rotation_asks_the_whole_set_and_begins_anew(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    for _ in range(5):
        device.pass_an_hour()
    asked = [job.tasks[0].question for job in process.jobs]
    assert len(asked) == 125
    assert set(asked[:100]) == {example.question for example in examples(100)}
    assert asked[100:] == asked[:25]
    assert [record.slice.index for record in device.records] == [0, 1, 2, 3, 0]
    assert device.records[4].slice == device.records[0].slice
    assert {record.trigger for record in device.records} == {Trigger.SCHEDULE}
    assert {record.exact_match for record in device.records} == {100.0}


def test_the_rotation_goes_on_after_a_restart(tmp_path: Path) -> None:
    device, _ = a_device(tmp_path)
    device.pass_an_hour()
    again, _ = a_device(tmp_path)
    again.pass_an_hour()
    assert again.records[0].slice.index == 1


def test_a_slice_in_the_middle_of_a_restart_is_asked_anew(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    device.evaluation._stopping.set()
    device.pass_an_hour()
    assert device.records == []
    again, process = a_device(tmp_path)
    again.pass_an_hour()
    assert again.records[0].slice.index == 0
    assert len(process.jobs) == 25


def test_a_swap_is_followed_by_the_questions_that_the_model_before_had(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    device.pass_an_hour()
    device.pass_an_hour()
    swap_in(device, process, "b", "red")
    device.tick()
    before, after = device.records[1:]
    assert after.trigger is Trigger.SWAP
    assert after.slice == before.slice
    assert after.paired is not None
    assert after.paired.previous == before.model
    assert after.paired.exact_match_difference == -100.0
    assert after.paired.exact_match_lost == 25
    device.pass_an_hour()
    assert device.records[-1].trigger is Trigger.SCHEDULE
    assert device.records[-1].slice.index == 2  # the rotation goes on where it was


def test_a_swap_before_a_restart_is_noticed_after_it(tmp_path: Path) -> None:
    device, _ = a_device(tmp_path)
    device.pass_an_hour()
    dispatcher = make_dispatcher()
    activate(dispatcher, model("b"), says("blue"))
    again = Device(tmp_path, dispatcher, FixedQuestions(examples(100)))
    again.tick()
    assert again.records[0].trigger is Trigger.SWAP
    assert again.records[0].paired is not None


def test_a_swap_in_the_middle_ends_it_and_the_one_after_it_takes_over(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    device.pass_an_hour()
    device.evaluation.order(None, None, "mine")
    dispatcher = process.dispatcher
    assert dispatcher is not None

    def answer(task: Task) -> Outcome:
        if len(process.jobs) == 25 + 7:
            activate(dispatcher, model("b"), says("blue"))
        return says("blue")(task)

    process._answer = answer
    with capture_logs() as logs:
        device.tick()
    assert [one["code"] for one in logs if one["event"] == "evaluation_failed"] == [
        "evaluation_superseded"
    ]
    assert len(device.records) == 1
    assert device.answers == []
    device.tick()
    assert device.records[1].trigger is Trigger.SWAP
    assert device.records[1].slice == device.records[0].slice
    [(order, outcome)] = device.answers  # who ordered the one that was ended gets this
    assert order == "mine"
    assert outcome == device.records[1]


def test_a_question_is_asked_again_of_the_process_that_takes_a_dead_ones_place(
    tmp_path: Path,
) -> None:
    device, process = a_device(tmp_path)
    dispatcher = process.dispatcher
    assert dispatcher is not None

    def dies(task: Task) -> Outcome | None:
        if len(process.jobs) == 5:
            process.die()
            activate(dispatcher, model("a"), says("blue"))
            return None
        return says("blue")(task)

    process._answer = dies
    device.pass_an_hour()
    assert device.records[0].questions == 25
    assert device.records[0].exact_match == 100.0


def test_what_kills_the_model_twice_is_given_up_and_not_asked_in_the_next_turn(
    tmp_path: Path,
) -> None:
    device, process = a_device(tmp_path)
    dispatcher = process.dispatcher
    assert dispatcher is not None
    deaths = 0

    def dies(current: FakeProcess) -> Callable[[Task], Outcome | None]:
        def answer(task: Task) -> Outcome | None:
            nonlocal deaths
            deaths += 1
            current.die()
            following = activate(dispatcher, model("a"), says("blue"))
            following._answer = dies(following)
            return None

        return answer

    process._answer = dies(process)
    with capture_logs() as logs:
        device.pass_an_hour()
    assert deaths == 2
    assert [one["code"] for one in logs if one["event"] == "evaluation_failed"] == ["model_crashed"]
    activate(dispatcher, model("a"), says("blue"))
    device.pass_an_hour()
    assert device.records[0].slice.index == 1


def test_while_no_model_serves_it_waits_for_one(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    dispatcher = process.dispatcher
    assert dispatcher is not None

    def dies(task: Task) -> Outcome | None:
        process.die()
        return None

    process._answer = dies

    def comes_back() -> None:
        if dispatcher.active is None and len(device.clock.slept) > 10:
            activate(dispatcher, model("a"), says("blue"))

    device.clock.on_sleep = comes_back
    device.pass_an_hour()
    assert device.records[0].questions == 25


@pytest.mark.parametrize(("share", "most"), [(0.1, 0.105), (0.5, 0.55), (1.0, 1.0)])
def test_it_keeps_to_its_share_of_a_core(tmp_path: Path, share: float, most: float) -> None:
    budget = Budget(idle_s=0.0, cpu_share=share, max_celsius=75.0)
    device, process = a_device(tmp_path, budget=budget)

    def takes_12_ms(task: Task) -> Outcome:
        device.clock.now += 0.012
        return says("blue")(task)

    process._answer = takes_12_ms
    device.pass_an_hour()
    record = device.records[0]
    busy_ms = 25 * 12.0
    # The last answer is not waited off.
    assert busy_ms / (record.duration_ms + 12.0 / share - 12.0) <= most
    assert record.duration_ms == pytest.approx(record.waited_ms + busy_ms, abs=1.0)


def test_it_waits_while_the_processor_is_hot(tmp_path: Path) -> None:
    readings = iter([80.0, 76.0, 75.0])
    device, _ = a_device(tmp_path, celsius=lambda: next(readings, 60.0))
    begun = device.clock.now + 3601
    device.pass_an_hour()
    assert device.clock.now - begun >= 10.0  # two looks five seconds apart
    assert device.records[0].questions == 25


def test_one_that_stays_hot_is_given_up_and_says_so(tmp_path: Path) -> None:
    device, process = a_device(tmp_path, celsius=lambda: 90.0)
    device.evaluation.order(None, None, "mine")
    device.tick()
    assert process.jobs == []
    [(_, outcome)] = device.answers
    assert isinstance(outcome, EdgeqaError)
    assert outcome.code == "evaluation_timeout"
    with capture_logs() as logs:
        device.tick()
    assert not [one for one in logs if one["event"] == "evaluation_failed"]  # not at once again


@pytest.mark.parametrize(("asked", "told"), [(19, False), (20, True), (24, True)])
def test_what_was_asked_until_the_time_is_over_counts_if_it_is_enough(
    tmp_path: Path, asked: int, told: bool
) -> None:
    device, process = a_device(tmp_path)

    def then_others_come(task: Task) -> Outcome:
        if len(process.jobs) == asked:
            device.quiet_s = 0.0
        return says("blue")(task)

    process._answer = then_others_come
    device.pass_an_hour()
    assert [record.questions for record in device.records] == ([asked] if told else [])
    assert len(process.jobs) == asked


def test_an_answer_that_does_not_come_ends_with_the_time(tmp_path: Path) -> None:
    device, process = a_device(tmp_path, timeout_s=1.0)
    process._answer = lambda _: None
    begun = time.monotonic()
    # The wait for an answer is a real one: let the test's clock follow.
    real = device.evaluation._clock
    device.evaluation._clock = lambda: real() + time.monotonic() - begun
    device.pass_an_hour()
    assert device.records == []
    assert len(process.jobs) == 1
    device.pass_an_hour()
    assert len(process.jobs) == 1  # the model is still at it: no second one beside it
    assert not process.killed


def test_commands_are_obeyed_one_at_a_time(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    assert device.evaluation.order(10, 3, "one") == 10
    with pytest.raises(PayloadError) as caught:
        device.evaluation.order(None, None, "two")
    assert caught.value.code == "evaluation_running"

    def again(task: Task) -> Outcome:
        with pytest.raises(PayloadError):
            device.evaluation.order(None, None, "three")
        return says("blue")(task)

    process._answer = again
    device.tick()
    [record] = device.records
    assert record.trigger is Trigger.COMMAND
    assert (record.slice.index, record.slice.of, record.questions) == (3, 10, 10)
    assert device.answers == [("one", record)]
    assert device.evaluation.order(None, None) == 25


def test_a_slice_out_of_turn_does_not_move_the_rotation(tmp_path: Path) -> None:
    device, _ = a_device(tmp_path)
    device.evaluation.order(None, 2)
    device.tick()
    device.evaluation.order(None, None)
    device.tick()
    assert [record.slice.index for record in device.records] == [2, 0]


def test_a_slice_that_is_not_there_is_refused(tmp_path: Path) -> None:
    device, _ = a_device(tmp_path)
    with pytest.raises(PayloadError) as caught:
        device.evaluation.order(None, 4)
    assert caught.value.code == "unknown_slice"
    assert device.evaluation.order(None, 3) == 25


def test_questions_without_answer_are_scored_as_squad_v2_does(tmp_path: Path) -> None:
    dispatcher = make_dispatcher()
    given = {
        "q0": says("blue", score=0.9, no_answer=0.1),  # right
        "q1": says("blue", score=0.1, no_answer=0.9),  # silent, though the text answers
        "q2": says("blue", score=0.1, no_answer=0.9),  # rightly silent
        "q3": says("blue", score=0.9, no_answer=0.1),  # answers what has no answer
        "q4": lambda _: refused("question_too_long", "too long"),  # the empty answer, as always
    }
    asked = [an_example(n, answer="blue" if n in {0, 1} else None) for n in range(5)]
    by_question = {example.question: given[example.id] for example in asked}
    activate(dispatcher, model(), lambda task: by_question[task.question](task))
    device = Device(tmp_path, dispatcher, FixedQuestions(asked))
    device.pass_an_hour()
    [record] = device.records
    assert record.dataset.task == "squad_v2"
    assert record.exact_match == 60.0  # q0, q2, q4
    assert record.questions == 5


def test_questions_that_cannot_be_read_are_made_anew(tmp_path: Path) -> None:
    device, _ = a_device(tmp_path)

    class Damaged(FixedQuestions):
        def read(self, begin: int, end: int) -> list[object]:  # type: ignore[override]
            raise DataError("damaged")

    device.source.current = Damaged(examples(100))
    device.pass_an_hour()
    assert device.source.distrusted == 1
    assert device.records == []


def test_devices_begin_at_different_times_within_the_first_minutes() -> None:
    firsts = [
        Routine(device=f"pi-{n}", questions=1, interval_s=3600, timeout_s=1).first_s
        for n in range(1000)
    ]
    assert 0 <= min(firsts) < 10
    assert 590 < max(firsts) <= 600
    assert len(set(firsts)) == 1000
    assert Routine(device="pi", questions=1, interval_s=10, timeout_s=1).first_s <= 10


def test_pace_waits_for_quiet_and_looks_at_the_temperature_seldom() -> None:
    clock, looks = Clock(), 0

    def celsius() -> float:
        nonlocal looks
        looks += 1
        return 50.0

    quiet = 0.0
    pace = Pace(
        Budget(idle_s=2.0, cpu_share=0.5, max_celsius=75.0),
        quiet_s=lambda: quiet, celsius=celsius, clock=clock,
    )  # fmt: skip
    assert pace.wait_s() == 2.0  # one is under way
    quiet = 1.5
    assert pace.wait_s() == pytest.approx(0.5)
    quiet = 2.0
    assert pace.wait_s() == 0
    for _ in range(10):
        assert pace.wait_s() == 0
    assert looks == 1
    clock.now += 5
    pace.wait_s()
    assert looks == 2
    pace.spend(0.2)
    assert pace.wait_s() == pytest.approx(0.2)


def test_a_sensor_that_says_nothing_stops_nothing() -> None:
    pace = Pace(Budget(0.0, 1.0, 75.0), quiet_s=lambda: 9.0, celsius=lambda: None, clock=Clock())
    assert pace.wait_s() == 0


def test_quiet_begins_with_the_last_answer() -> None:
    clock = Clock()
    quiet = Quiet(clock)
    assert quiet.seconds > 3600
    offered: list[Request] = []

    def take(request: Request) -> bool:
        offered.append(request)
        return True

    offer = quiet.through(take)
    offer(Request([], None, lambda *_: None))
    clock.now += 10
    assert quiet.seconds == 0  # it is under way
    offered[0].complete([], 0.0, None)
    assert quiet.seconds == 0
    clock.now += 3
    assert quiet.seconds == 3
    refusing = quiet.through(lambda _: False)
    refusing(Request([], None, lambda *_: None))
    clock.now += 1
    assert quiet.seconds == 1


def test_scores_of_the_last_models_are_kept(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    for name in "abcdefg":
        process = swap_in(device, process, name, "blue")
        device.pass_an_hour()
    again = Memory(tmp_path, device.memory._log)
    kept = {one.model.name for one in again._content.results}
    assert len(kept) == MAX_MODELS
    assert again.last is not None
    assert again.last.model.name == "g"


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 2}', b"[]", b'{"next": -1}', b"\xff"])
def test_a_damaged_memory_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "evaluations.json").write_bytes(content)
    with capture_logs() as logs:
        device, _ = a_device(tmp_path)
        device.pass_an_hour()
    assert [one for one in logs if one["event"] == "evaluations_forgotten"]
    assert device.records[0].slice.index == 0
    assert Memory(tmp_path, device.memory._log).last is not None


def test_without_room_for_its_memory_it_still_tells(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    device, _ = a_device(folder)
    folder.rmdir()
    device.pass_an_hour()
    device.pass_an_hour()
    assert [record.slice.index for record in device.records] == [0, 1]


def test_times_are_those_of_the_model(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    process._answer = lambda _: Outcome(
        [("blue", 0, 4, 0.9)], 0.1, 1, float(len(process.jobs)), tokenise_ms=1.0
    )
    device.pass_an_hour()
    times = device.records[0].inference
    assert times.total_ms == sum(range(1, 26))
    assert (times.mean_ms, times.p50_ms, times.p95_ms, times.p99_ms) == (13.0, 13.0, 24.0, 25.0)


@pytest.mark.parametrize("mad", [-1e300, 1e300])
def test_a_model_that_says_mad_figures_spoils_no_record(tmp_path: Path, mad: float) -> None:
    device, process = a_device(tmp_path)
    process._answer = lambda _: Outcome(
        [("\x00\ud800" * 9, -5, -7, mad)], mad, -1, mad, tokenise_ms=mad, cpu_ms=min(mad, 1.0)
    )
    device.pass_an_hour()
    assert device.records[0].exact_match == 0.0
    assert 0 <= device.records[0].inference.total_ms <= 25 * 1_800_000


def test_the_active_model_is_named(tmp_path: Path) -> None:
    device, process = a_device(tmp_path)
    device.pass_an_hour()
    assert process.dispatcher is not None
    ref: ModelRef = active(process.dispatcher)
    record: Evaluation = device.records[0]
    assert record.model.model_dump() == ref.model_dump()


def test_switched_off_it_refuses_orders_and_does_nothing(tmp_path: Path) -> None:
    settings = AgentSettings(state_dir=tmp_path, evaluation_data="off")
    file = OutboxFile(tmp_path / "outbox.sqlite", log=structlog.get_logger())
    log = structlog.get_logger()
    outbox = Outbox(file=file, device="pi", boot_id="b", uptime_ms=lambda: 1, log=log)
    parts = Evaluating(settings, make_dispatcher(), outbox, publish=lambda _: None, log=log)
    parts.start()
    with pytest.raises(PayloadError) as caught:
        parts.handler.act(EvaluateCommand(number=1, expires_ms=1))
    assert caught.value.code == "evaluation_off"
    parts.stop()
    file.close()


@pytest.mark.parametrize("works", [True, False])
def test_who_ordered_an_evaluation_is_told_past_the_outbox(tmp_path: Path, *, works: bool) -> None:
    settings = AgentSettings(
        device="pi", state_dir=tmp_path, evaluation_idle_s=0, evaluation_cpu_share=1,
        evaluation_timeout_s=1,
    )  # fmt: skip
    log = structlog.get_logger()
    file = OutboxFile(tmp_path / "outbox.sqlite", log=log)
    outbox = Outbox(file=file, device="pi", boot_id="b", uptime_ms=lambda: 1, log=log)
    dispatcher = make_dispatcher()
    activate(dispatcher, model(), says("blue") if works else lambda _: None)
    told: queue.Queue[Outgoing] = queue.Queue()
    parts = Evaluating(settings, dispatcher, outbox, publish=told.put, log=log)
    parts.start()
    command = EvaluateCommand(id="mine", number=1, expires_ms=1, questions=5)
    assert parts.handler.act(command) == {"queued": 4}  # 594 in 119 slices
    message = told.get(timeout=30)
    parts.stop()
    stored = outbox.waiting(after=0, limit=10)
    file.close()
    assert message.correlation == b"mine"
    if works:
        assert message.topic == DeviceTopics("pi").record("evaluation")
        assert [row.payload for row in stored] == [message.payload]
        return
    reply = CommandReply.model_validate_json(message.payload)
    assert message.topic == DeviceTopics("pi").answers
    assert reply.error is not None
    assert (reply.id, reply.error.code) == ("mine", "evaluation_timeout")
    assert stored == []
