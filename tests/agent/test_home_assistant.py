"""What the agent tells Home Assistant, part by part; over a broker: tests/system."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from jinja2 import TemplateSyntaxError
from structlog.testing import capture_logs
from support.home_assistant import (
    MAX_STATE,
    attributes_of,
    check_discovery,
    command_of,
    state_of,
)

from edgeqa.errors import ConfigError
from edgeqa.histogram import Histogram
from edgeqa.messages import Answer, Ask, Fault, Hardware, ModelRef, Span, parse_payload
from edgeqa.packets import Delivery, Outgoing
from edgeqa.settings import load_settings
from edgeqa.telemetry_messages import Evaluation, Latency, Telemetry
from edgeqa_agent.home_assistant_discovery import (
    ID_PREFIX,
    Shown,
    discovery_payload,
    discovery_topic,
)
from edgeqa_agent.home_assistant_figures import HomeFigures
from edgeqa_agent.home_assistant_file import NAME, LeftTopics
from edgeqa_agent.home_assistant_questions import HomeQuestions
from edgeqa_agent.selfeval_memory import Result
from edgeqa_agent.settings import AgentSettings

PI = Hardware(machine="aarch64", board="Raspberry Pi 5 Model B", cpus=4, memory_bytes=8 << 30)
MODEL = ModelRef(name="reader", version="1.0.0", digest="sha256:" + "0" * 64)


def shown(**changes: Any) -> Shown:
    fields: dict[str, Any] = {
        "device": "pi5",
        "version": "0.1.0",
        "hardware": PI,
        "context_id": "manual",
        "evaluates": True,
        "has_temperature": True,
    }
    return Shown(**(fields | changes))


def components(**changes: Any) -> dict[str, Any]:
    topic = discovery_topic("homeassistant", str(changes.get("device", "pi5")))
    message = check_discovery(topic, discovery_payload(shown(**changes)))
    found = message["components"]
    assert isinstance(found, dict)
    return found


def test_a_device_has_its_figures_a_question_and_an_answer() -> None:
    assert set(components()) == {
        "exact_match",
        "f1",
        "latency_p95_ms",
        "temperature_celsius",
        "memory_mib",
        "answered",
        "model",
        "question",
        "answer",
    }


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"context_id": None}, {"question", "answer"}),
        ({"evaluates": False}, {"exact_match", "f1"}),
        ({"has_temperature": False}, {"temperature_celsius"}),
    ],
)
def test_what_can_never_have_a_value_is_not_shown(changes: dict[str, Any], gone: set[str]) -> None:
    assert set(components()) - set(components(**changes)) == gone


def test_two_devices_have_no_topic_and_no_id_in_common() -> None:
    def own(device: str) -> set[str]:
        keys = ("unique_id", "state_topic", "command_topic", "json_attributes_topic")
        return {
            entity[key]
            for entity in components(device=device).values()
            for key in keys
            if key in entity
        }

    assert not own("pi-1") & own("pi-10")


def test_presence_is_that_of_the_status_topic() -> None:
    message = check_discovery(
        discovery_topic("ha/x", "pi5"), discovery_payload(shown()), prefix="ha/x"
    )
    (availability,) = message["availability"]

    assert availability["topic"] == "edgeqa/v1/devices/pi5/status"
    for status in ("online", "offline"):
        payload = json.dumps({"schema": 1, "status": status, "device": "pi5"}).encode()
        assert state_of(availability, payload) == status
    assert availability["payload_available"] == "online"
    assert availability["payload_not_available"] == "offline"


def test_every_template_renders_what_the_agent_sends() -> None:
    """Also before anything is known: `null`, which Home Assistant shows as unknown."""
    bare = figures(model=None).state().to_json()
    known = figures(last=result([True, False], [1.0, 0.5])).state().to_json()
    sensors = {key: e for key, e in components().items() if key not in {"question", "answer"}}

    unknown = {key for key, entity in sensors.items() if state_of(entity, bare) == "unknown"}
    assert unknown == {"exact_match", "f1", "latency_p95_ms", "model"}
    unknown = {key for key, entity in sensors.items() if state_of(entity, known) == "unknown"}
    assert unknown == {"latency_p95_ms"}
    assert state_of(components()["exact_match"], known) == "50.0"
    assert state_of(components()["f1"], known) == "75.0"
    assert state_of(components()["model"], known) == "reader 1.0.0"


NASTY = [
    "When was it announced?",
    "What does \"AC\" mean, and 'DC'?",
    "two\nlines\tand a tab\r\n",
    "Wie heiß? 你好 🤖👩‍🔬",
    "<b>bold</b> & <script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    "back\\slash \\u0041 \\n",
    '", "context_id": "other',
    " ",
    "x" * MAX_STATE,
    "🤖" * MAX_STATE,
]


@pytest.mark.parametrize("question", NASTY)
def test_a_typed_question_is_a_question_of_the_contract_to_the_letter(question: str) -> None:
    ask = parse_payload(Ask, command_of(components()["question"], question))

    assert ask.question == question
    assert (ask.context_id, ask.context, ask.questions) == ("manual", None, None)
    assert ask.id is not None
    assert ask.id.startswith(ID_PREFIX)


def test_the_same_question_twice_has_two_ids() -> None:
    """Else the second would get the first one's answer, although the text has changed since."""
    entity = components()["question"]
    first = command_of(entity, "Who?")
    time.sleep(0.001)
    assert first != command_of(entity, "Who?")


def delivery(payload: bytes) -> Delivery:
    return Delivery(
        topic="edgeqa/v1/devices/pi5/ask",
        payload=payload,
        retain=False,
        redelivered=False,
        response_topic=None,
        correlation=None,
        expiry_s=None,
        received_at=0.0,
        receipt=None,
    )


def reply(question_id: str, **fields: Any) -> Outgoing:
    answer = Answer(
        status="error" if "error" in fields else "ok", id=question_id, device="pi5", **fields
    )
    return Outgoing("edgeqa/v1/devices/pi5/answers", answer.to_json())


def ask(questions: HomeQuestions, question: str, *, number: int = 1) -> str:
    question_id = f"{ID_PREFIX}{number}"
    fields = {"id": question_id, "question": question, "context_id": "manual"}
    questions.asked(delivery(json.dumps(fields).encode()))
    return question_id


@pytest.mark.parametrize("question", NASTY)
def test_an_answer_brings_its_question_to_the_letter(question: str) -> None:
    questions = HomeQuestions()
    question_id = ask(questions, question)
    span = Span(text='<i>"a"</i>\n🤖', start=3, end=15, score=0.75)

    told = questions.answered(reply(question_id, answers=[span], model=MODEL, inference_ms=4.2))

    assert told is not None
    entity = components()["answer"]
    assert state_of(entity, told.to_json()) == span.text
    attributes = attributes_of(entity, told.to_json())
    assert attributes == {
        "question": question,
        "context_id": "manual",
        "text": span.text,
        "score": 0.75,
        "model": "reader 1.0.0",
        "inference_ms": 4.2,
        "error": None,
        "reason": None,
    }
    assert state_of(components()["question"], told.to_json()) == question.strip()[:MAX_STATE]


def test_a_refusal_is_shown_with_its_reason_and_no_answer() -> None:
    questions = HomeQuestions()
    question_id = ask(questions, "Who?")
    fault = Fault(code="unknown_context", message="there is no text 'manual'")

    told = questions.answered(reply(question_id, error=fault))

    assert told is not None
    entity = components()["answer"]
    assert state_of(entity, told.to_json()) == "unknown"
    attributes = attributes_of(entity, told.to_json())
    assert (attributes["error"], attributes["reason"]) == (fault.code, fault.message)


@pytest.mark.parametrize(
    ("text", "state"),
    [("None", "“None”"), ("y" * 300, "y" * 254 + "…"), ("z" * MAX_STATE, "z" * MAX_STATE)],
)
def test_an_answer_fits_into_a_state_and_is_whole_among_the_attributes(
    text: str, state: str
) -> None:
    questions = HomeQuestions()
    question_id = ask(questions, "What?")
    span = Span(text=text, start=0, end=len(text), score=0.5)

    told = questions.answered(reply(question_id, answers=[span]))

    assert told is not None
    entity = components()["answer"]
    assert state_of(entity, told.to_json()) == state
    assert attributes_of(entity, told.to_json())["text"] == text


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id": "mine", "question": "home-assistant-1", "context_id": "manual"}',
        b'{"id": "home-assistant-1", "questions": [{"question": "a"}], "context": "b"}',
        b'{"id": "home-assistant-1"',
        b'["home-assistant-1"]',
        b"home-assistant-\xff",
        b'{"id": "home-assistant-1", "question": 5}',
        b'{"id": "home-assistant-1", "question": "Who?", "context": "' + b"x" * 9000 + b'"}',
    ],
)
def test_what_is_no_question_from_there_is_not_listened_to(payload: bytes) -> None:
    questions = HomeQuestions()
    questions.asked(delivery(payload))
    span = Span(text="a", start=0, end=1, score=0.5)

    assert questions.answered(reply("home-assistant-1", answers=[span])) is None
    assert questions.answered(reply("mine", answers=[span])) is None


def test_what_is_awaited_has_a_bound_in_number_and_time() -> None:
    now = [0.0]
    questions = HomeQuestions(clock=lambda: now[0])
    ids = [ask(questions, f"q{number}", number=number) for number in range(70)]
    span = Span(text="a", start=0, end=1, score=0.5)

    assert questions.answered(reply(ids[0], answers=[span])) is None
    assert questions.answered(reply(ids[-1], answers=[span])) is not None
    assert questions.answered(reply(ids[-1], answers=[span])) is None
    now[0] = 1000.0
    assert questions.answered(reply(ids[-2], answers=[span])) is None


def figures(**changes: Any) -> HomeFigures:
    fields: dict[str, Any] = {"last": None, "model": MODEL}
    fields |= changes
    return HomeFigures(
        last=fields["last"],
        model=lambda: fields["model"],
        pids=list,
        answered=lambda: 7,
        celsius=lambda: 48.26,
    )


def result(exact: list[bool], f1: list[float], *, digest: str = MODEL.digest) -> Result:
    return Result.model_validate(
        {
            "model": {"name": "reader", "version": "1.0.0", "digest": digest},
            "fingerprint": "0" * 64,
            "slice": "s1",
            "index": 0,
            "of": 1,
            "exact": "".join("1" if one else "0" for one in exact),
            "f1": f1,
        }
    )


COMMON = {"device": "pi5", "boot_id": "b", "seq": 1, "time_ms": 1, "uptime_ms": 1}


def evaluation(digest: str) -> Evaluation:
    times = dict.fromkeys(("total_ms", "mean_ms", "p50_ms", "p95_ms", "p99_ms"), 1.0)
    return Evaluation.model_validate(
        COMMON
        | {
            "model": {"name": "reader", "version": "1.0.0", "digest": digest},
            "trigger": "swap",
            "dataset": {"name": "d", "fingerprint": "0" * 64, "task": "squad_v1", "questions": 9},
            "slice": {"id": "s1", "index": 0, "of": 1},
            "questions": 9,
            "exact_match": 66.667,
            "exact_match_interval": (60.0, 70.0),
            "f1": 77.777,
            "f1_interval": (70.0, 80.0),
            "inference": times,
            "duration_ms": 1.0,
        }
    )


def test_scores_of_an_earlier_start_are_shown_until_there_are_newer_ones() -> None:
    home = figures(last=result([True], [0.9]))
    assert (home.state().exact_match, home.state().f1) == (100.0, 90.0)

    home.told(evaluation(MODEL.digest))
    assert (home.state().exact_match, home.state().f1) == (66.67, 77.78)


def test_scores_of_another_model_are_not_shown_as_those_of_the_one_that_answers() -> None:
    home = figures(last=result([True], [0.9], digest="sha256:" + "1" * 64))
    assert home.state().exact_match is None

    home.told(evaluation("sha256:" + "2" * 64))
    assert (home.state().exact_match, home.state().f1) == (None, None)


def test_latency_stays_that_of_the_last_record_with_an_answer() -> None:
    home = figures()
    times = Histogram.of([10.0] * 90 + [200.0] * 10)
    home.told(Telemetry(**COMMON, interval_s=60, latency=Latency(total=times)))
    home.told(Telemetry(**COMMON, interval_s=60))

    p95_ms = home.state().latency_p95_ms
    assert p95_ms is not None
    assert p95_ms == pytest.approx(200, rel=0.05)
    assert (home.state().answered, home.state().temperature_celsius) == (7, 48.3)


def test_what_was_left_is_known_after_a_restart_and_forgotten_when_gone(tmp_path: Path) -> None:
    log = structlog.get_logger()
    left = LeftTopics(tmp_path, log)
    assert left.topics == frozenset()
    left.note(frozenset({"a/config", "a/state"}))
    assert LeftTopics(tmp_path, log).topics == {"a/config", "a/state"}

    left.note(frozenset())
    assert not (tmp_path / NAME).exists()
    assert LeftTopics(tmp_path, log).topics == frozenset()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"topics": [1]}', b"\xff", b"x" * 100_000])
def test_a_damaged_file_is_said_and_costs_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with capture_logs() as logs:
        left = LeftTopics(tmp_path, structlog.get_logger())
    assert left.topics == frozenset()
    assert [entry["event"] for entry in logs] == ["home_assistant_topics_forgotten"]


def test_a_folder_that_takes_no_file_is_said_and_costs_nothing(tmp_path: Path) -> None:
    left = LeftTopics(tmp_path / "nowhere", structlog.get_logger())
    with capture_logs() as logs:
        left.note(frozenset({"a"}))
    assert [entry["event"] for entry in logs] == ["home_assistant_topics_not_kept"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"device": "pi.5"}, "takes no device called 'pi.5'"),
        ({"home_assistant_prefix": "home/#"}, "home_assistant_prefix: "),
        ({"home_assistant_prefix": "/home"}, "home_assistant_prefix: "),
        ({"home_assistant_prefix": ""}, "home_assistant_prefix: "),
        ({"home_assistant_context": "a b"}, "home_assistant_context: must be the id"),
        ({"home_assistant_context": 'x", "y'}, "home_assistant_context: must be the id"),
        ({"home_assistant_interval_s": 0}, "home_assistant_interval_s: "),
    ],
)
def test_a_wrong_setting_is_one_clear_line(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(AgentSettings, environ={}, flags={"home_assistant": True} | flags)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_device_with_dots_is_fine_without_home_assistant() -> None:
    assert load_settings(AgentSettings, environ={}, flags={"device": "pi.5"}).device == "pi.5"


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("temperature_celsius", "unit_of_measurement", "C"),
        ("temperature_celsius", "state_class", "total"),
        ("latency_p95_ms", "device_class", "latency"),
        ("memory_mib", "unit_of_measurement", "MiBs"),
        ("answered", "state_class", None),
        ("model", "unique_id", "edgeqa_pi5_f1"),
        ("model", "value_template", "{{ value_json. }}"),
        ("question", "max", 256),
        ("question", "command_topic", "edgeqa/v1/devices/+/ask"),
        ("answer", "unknown_key", 1),
    ],
)
def test_the_check_itself_refuses_what_home_assistant_would(
    key: str, field: str, value: object
) -> None:
    message = json.loads(discovery_payload(shown()))
    message["components"][key][field] = value
    topic = discovery_topic("homeassistant", "pi5")
    with pytest.raises((AssertionError, TemplateSyntaxError)):
        check_discovery(topic, json.dumps(message).encode())


def test_the_check_itself_refuses_a_device_with_dots() -> None:
    with pytest.raises(AssertionError):
        check_discovery(discovery_topic("homeassistant", "pi.5"), discovery_payload(shown()))
