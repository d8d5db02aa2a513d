"""Questions over a real broker to a real agent with the default model."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support.agents import ANSWER, PASSAGE, QUESTION, AgentProcess, RawClient, a_question, serving
from support.broker import Broker

from edgeqa.packets import Outgoing
from edgeqa.topics import group_ask
from edgeqa_agent.settings import default_package

pytestmark = pytest.mark.system


def test_answer_says_where_it_stands_and_which_model_gave_it(client: RawClient) -> None:
    answer = client.ask(a_question(id="q-1"))

    assert answer["status"] == "ok"
    assert (answer["schema"], answer["id"], answer["device"]) == (1, "q-1", "pi-1")
    span = answer["answers"][0]
    assert span["text"] == ANSWER == PASSAGE[span["start"] : span["end"]]
    assert 0 < span["score"] <= 1
    assert 0 <= answer["no_answer_score"] <= 1
    manifest = default_package() / "manifest.json"
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert answer["model"]["digest"] == f"sha256:{digest}"
    assert answer["inference_ms"] > 0
    assert answer["total_ms"] >= answer["inference_ms"]


def test_top_k_gives_distinct_answers_best_first(client: RawClient) -> None:
    answers = client.ask(a_question(top_k=5))["answers"]

    assert len(answers) == 5
    assert len({span["text"].lower() for span in answers}) == 5
    scores = [span["score"] for span in answers]
    assert scores == sorted(scores, reverse=True)


def test_batch_is_answered_in_its_order_in_one_message(client: RawClient) -> None:
    questions = [
        {"id": "a", "question": QUESTION},
        {"id": "b", "question": "How is the board powered?"},
        {"id": "c", "question": "Who wrote it?", "context_id": "nowhere"},
    ]

    answer = client.ask({"id": "batch", "context": PASSAGE, "questions": questions})
    assert answer["status"] == "ok"
    assert [result["id"] for result in answer["results"]] == ["a", "b", "c"]
    assert answer["results"][2]["error"]["code"] == "unknown_context"
    assert answer["results"][0]["answers"][0]["text"] == ANSWER
    assert "USB-C" in answer["results"][1]["answers"][0]["text"]


def test_one_bad_question_does_not_spoil_its_batch(client: RawClient) -> None:
    questions = [{"question": "why " * 500}, {"question": QUESTION}]

    answer = client.ask({"context": PASSAGE, "questions": questions})

    assert answer["status"] == "ok"
    assert answer["results"][0]["error"]["code"] == "question_too_long"
    assert answer["results"][1]["answers"][0]["text"] == ANSWER


def test_stored_text_answers_questions_until_it_is_deleted(client: RawClient) -> None:
    topic = client.topics.context("manual")
    client.publish(Outgoing(topic, PASSAGE.encode(), retain=True))

    answer = client.ask({"question": QUESTION, "context_id": "manual"})
    assert answer["answers"][0]["text"] == ANSWER

    client.publish(Outgoing(topic, b"", retain=True))
    gone = client.ask({"question": QUESTION, "context_id": "manual"})
    assert gone["error"]["code"] == "unknown_context"


def test_answer_deep_in_a_long_text_is_found_where_it_stands(client: RawClient) -> None:
    filler = "The harbour was quiet, and the boats lay still under a grey sky. " * 250
    text = filler + PASSAGE + filler

    answer = client.ask({"question": QUESTION, "context": text, "top_k": 3})

    assert answer["windows"] > 10
    best = answer["answers"][0]
    assert best["text"] == ANSWER
    assert best["start"] == text.index(ANSWER)


def test_no_answer_score_tells_a_text_that_answers_from_one_that_does_not(
    client: RawClient,
) -> None:
    answered = client.ask(a_question())
    unanswered = client.ask(a_question(question="Which fish live in the lake?"))

    assert unanswered["no_answer_score"] > answered["no_answer_score"]


def test_client_without_mqtt5_finds_its_answer_on_the_answers_topic(
    shared_broker: Broker, agent: AgentProcess
) -> None:
    del agent
    port = str(shared_broker.port)
    answers = subprocess.Popen(
        ["stdbuf", "-oL", "mosquitto_sub", "-V", "mqttv311", "-p", port, "-C", "1",
         "-W", "20", "-q", "1", "-d", "-t", "edgeqa/v1/devices/pi-1/answers"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert answers.stdout is not None
    for line in answers.stdout:
        if "SUBACK" in line:
            break
    subprocess.run(
        ["mosquitto_pub", "-V", "mqttv311", "-p", port, "-q", "1", "-t",
         "edgeqa/v1/devices/pi-1/ask", "-m", json.dumps(a_question(id="plc-7"))],
        check=True,
    )  # fmt: skip
    answer = json.loads(next(line for line in answers.stdout if line.startswith("{")))
    answers.communicate(timeout=25)
    assert (answer["id"], answer["answers"][0]["text"]) == ("plc-7", ANSWER)


def test_agents_of_a_group_divide_its_questions(broker: Broker, tmp_path: Path) -> None:
    with (
        serving(broker, tmp_path, groups="hall", device="pi-1", threads=1),
        serving(broker, tmp_path, groups="hall", device="pi-2", threads=1),
        RawClient(broker) as client,
    ):
        sent = [client.send(a_question(id=f"g{n}"), topic=group_ask("hall")) for n in range(20)]
        answers = [client.take(correlation) for correlation in sent]

        assert {answer["device"] for answer in answers} == {"pi-1", "pi-2"}
        assert all(answer["answers"][0]["text"] == ANSWER for answer in answers)
        time.sleep(0.3)
        assert all(client.count(correlation) == 1 for correlation in sent)


def test_equal_questions_are_inferred_once_and_answered_each_time_they_are_sent(
    client: RawClient, agent: AgentProcess
) -> None:
    first = client.ask(a_question(id="again"), correlation=b"same")
    second = client.ask(a_question(id="again"), correlation=b"same")
    other = client.ask(a_question(id="again", top_k=2), correlation=b"same")

    assert second == first  # to the microsecond: it is the first answer, sent again
    assert other["total_ms"] != first["total_ms"]
    assert len(other["answers"]) == 2


def test_many_clients_at_once_each_get_their_own_answers(
    shared_broker: Broker, agent: AgentProcess
) -> None:
    del agent
    wrong: list[object] = []

    def one(number: int) -> None:
        text = f"The code of door {number} is {number * 7919}. It is cleaned on Mondays."
        with RawClient(shared_broker) as raw:
            for turn in range(5):
                answer = raw.ask(
                    {"id": f"{number}-{turn}", "question": "What is the code?", "context": text}
                )
                if answer["id"] != f"{number}-{turn}" or str(number * 7919) not in str(
                    answer.get("answers")
                ):
                    wrong.append(answer)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
