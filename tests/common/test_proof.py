"""The proof of a loaded model, and what a model process makes of one that cannot be proven."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import structlog
from support.tiny_reader import (
    CHECK,
    MAX_SEQ_LEN,
    WORD,
    long_context,
    reader_package,
    word_weights,
)

from edgeqa.errors import EdgeqaError, ExitCode, GateError
from edgeqa.manifest import Package
from edgeqa.reader.engine import Engine, InferenceError
from edgeqa.reader.proof import MIN_CHECKS_F1, prove
from edgeqa_agent.jobs import Ready
from edgeqa_agent.model_process import ModelProcess

LONG = {"question": "what stops ?", "context": long_context(200), "answers": ["door", WORD]}


def proven(package: Package, *, threads: int = 1) -> tuple[float, float, int]:
    proof = prove(Engine.load(package, threads=threads), package)
    return proof.exact_match, proof.f1, proof.questions


def started(package: Package, threads: int = 1) -> Ready:
    process = ModelProcess(
        package=package,
        threads=threads,
        on_done=lambda _: None,
        on_exit=lambda _: None,
        log=structlog.get_logger(),
    )
    try:
        return process.start(timeout_s=60)
    finally:
        process.stop()


def test_scores_are_means_in_percent(tmp_path: Path) -> None:
    # 19 right, and one of which the answer is half: precision 1, recall 1/2.
    half = {**CHECK, "answers": [f"{WORD} valve"]}
    package = reader_package(tmp_path, checks=[CHECK] * 18 + [half, LONG])
    exact_match, f1, questions = proven(package)
    assert questions == 20
    assert exact_match == pytest.approx(95)
    assert f1 == pytest.approx(95 + 5 * 2 / 3)


def test_times_are_of_the_questions_one_by_one(tmp_path: Path) -> None:
    package = reader_package(tmp_path, checks=[CHECK] * 19 + [LONG])
    proof = prove(Engine.load(package, threads=1), package)
    assert 0 < proof.p50_ms <= proof.p95_ms


@dataclass
class Watched:
    """An engine that notes which windows it was given."""

    engine: Engine
    given: list[tuple[int, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        logits = self.engine.logits

        def noted(window, *, alone=True):  # type: ignore[no-untyped-def]  # as the one it wraps
            self.given.append((len(window), alone))
            return logits(window, alone=alone)

        self.engine.logits = noted  # type: ignore[method-assign]


@pytest.mark.parametrize("check", [CHECK, LONG])
def test_the_largest_window_is_read_first_by_both_sessions(
    tmp_path: Path, check: dict[str, object]
) -> None:
    package = reader_package(tmp_path, checks=[check])
    watched = Watched(Engine.load(package, threads=3))
    prove(watched.engine, package)
    warm_up = [(MAX_SEQ_LEN, True), *[(MAX_SEQ_LEN, False)] * 3]
    assert watched.given[:4] == warm_up
    assert all(alone for _, alone in watched.given[4:])


def test_one_thread_has_one_session_to_warm_up(tmp_path: Path) -> None:
    package = reader_package(tmp_path)
    watched = Watched(Engine.load(package, threads=1))
    prove(watched.engine, package)
    assert [length for length, _ in watched.given].count(MAX_SEQ_LEN) == 1


def test_a_model_that_answers_its_checks_wrongly_is_refused(tmp_path: Path) -> None:
    wrong = {**CHECK, "answers": ["tank"]}
    package = reader_package(tmp_path, checks=[CHECK] * 8 + [wrong])
    with pytest.raises(GateError, match=r"9 check questions with F1 88\.9 %; at least 90 %") as bad:
        proven(package)
    assert bad.value.code == "checks_failed"
    assert MIN_CHECKS_F1 > 100 * 8 / 9


def test_one_wrong_word_in_many_checks_is_no_reason_to_refuse(tmp_path: Path) -> None:
    wrong = {**CHECK, "answers": ["tank"]}
    package = reader_package(tmp_path, checks=[CHECK] * 9 + [wrong])
    assert proven(package)[1] == pytest.approx(90)


@pytest.mark.parametrize(
    "check",
    [
        {"question": "what " * 30, "context": "the pump", "answers": ["pump"]},
        {"question": "", "context": "the pump", "answers": ["pump"]},
        {"question": "what stops ?", "context": " \n ", "answers": ["pump"]},
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_check_that_cannot_be_asked_is_a_failed_check(
    tmp_path: Path, check: dict[str, object], place: int
) -> None:
    checks = [CHECK, CHECK]
    checks[place] = check
    with pytest.raises(GateError, match="does not take one of its own check questions") as bad:
        proven(reader_package(tmp_path, checks=checks))
    assert bad.value.code == "checks_failed"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("threads", [1, 2])
def test_logits_that_are_not_numbers_are_refused(
    tmp_path: Path, value: float, threads: int
) -> None:
    weights = word_weights()
    weights[:, 1] = value
    with pytest.raises(InferenceError, match="not finite"):
        proven(reader_package(tmp_path, weights=weights), threads=threads)


@pytest.mark.system
def test_a_model_process_reports_what_it_measured(tmp_path: Path) -> None:
    ready = started(reader_package(tmp_path, checks=[CHECK, LONG]), threads=2)
    scores = ready.scores
    assert (scores.questions, scores.exact_match, scores.f1) == (2, 100, 100)
    assert 0 < scores.p50_ms <= scores.p95_ms
    assert 30 << 20 < scores.memory_bytes < 500 << 20
    assert scores.load_ms > 20  # the imports alone take longer
    assert ready.onnxruntime_version


@pytest.mark.system
def test_a_model_that_gives_no_numbers_fails_cleanly(tmp_path: Path) -> None:
    package = reader_package(tmp_path, weights=word_weights() * np.float32(np.nan))
    with pytest.raises(EdgeqaError, match="not finite") as bad:
        started(package)
    assert bad.value.code == "inference_failed"
    assert bad.value.exit_code != ExitCode.OK
