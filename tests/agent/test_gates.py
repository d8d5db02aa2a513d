"""Gates: what is demanded is demanded, at the limit itself it is reached, the stricter holds."""

from __future__ import annotations

from typing import Any

import pytest

from edgeqa.errors import ExitCode, GateError
from edgeqa.model_messages import CheckScores, Gates
from edgeqa_agent.gates import judge

MIB = 1 << 20
SCORES = CheckScores(
    questions=29,
    exact_match=89.66,
    f1=96.55,
    p50_ms=11.5,
    p95_ms=31.25,
    memory_bytes=163 * MIB,
    load_ms=700.0,
)


def refusal(*gates: Gates | None, **changes: Any) -> GateError:
    with pytest.raises(GateError) as refused:
        judge(SCORES.model_copy(update=changes), *gates)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code is ExitCode.GATE
    return refused.value


@pytest.mark.parametrize("gates", [(), (None,), (None, None), (Gates(),), (Gates(), None)])
def test_no_gate_demands_nothing(gates: tuple[Gates | None, ...]) -> None:
    judge(SCORES, *gates)


def test_a_limit_that_is_met_exactly_is_met() -> None:
    judge(SCORES, Gates(min_exact_match=89.66, min_f1=96.55, max_p95_ms=31.25, max_memory_mb=163))


@pytest.mark.parametrize(
    ("gate", "code", "says"),
    [
        (Gates(min_exact_match=89.67), "gate_accuracy", ("exact match", "29", "89.66", "89.67")),
        (Gates(min_f1=100), "gate_accuracy", ("F1", "29", "96.55 %", "100 %")),
        (Gates(max_p95_ms=31.2), "gate_latency", ("p95", "31.25 ms", "31.2 ms")),
        (Gates(max_memory_mb=162.5), "gate_memory", ("163 MiB", "162.5 MiB")),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_missed_gate_is_named_with_both_figures(
    gate: Gates, code: str, says: tuple[str, ...], place: int
) -> None:
    gates: list[Gates | None] = [None, Gates()]
    gates.insert(place, gate)
    error = refusal(*gates)
    assert error.code == code
    assert all(part in str(error) for part in says), error


@pytest.mark.parametrize("turned", [False, True])
def test_the_stricter_of_two_gates_holds(turned: bool) -> None:
    device = Gates(min_f1=90, max_p95_ms=20, max_memory_mb=400)
    wish = Gates(min_f1=99, max_p95_ms=50, max_memory_mb=100)
    pair = (wish, device) if turned else (device, wish)
    message = str(refusal(*pair))
    assert "at least 99 %" in message
    assert "at most 20 ms" in message
    assert "at most 100 MiB" in message


def test_a_gate_does_not_relax_another() -> None:
    assert refusal(Gates(min_f1=97), Gates(min_f1=0)).code == "gate_accuracy"
    assert refusal(Gates(max_p95_ms=30), Gates(max_p95_ms=1e9)).code == "gate_latency"


def test_of_several_missed_gates_all_are_named_and_accuracy_gives_the_code() -> None:
    error = refusal(Gates(min_exact_match=95, min_f1=97, max_p95_ms=1, max_memory_mb=1))
    assert error.code == "gate_accuracy"
    for part in ("exact match", "F1", "p95", "MiB"):
        assert part in str(error)
    assert refusal(Gates(max_p95_ms=1, max_memory_mb=1)).code == "gate_latency"


def test_a_limit_of_zero_demands_nothing_of_a_model_that_answers_nothing() -> None:
    judge(SCORES.model_copy(update={"f1": 0.0, "exact_match": 0.0}), Gates(min_f1=0))


def test_memory_that_was_not_measured_passes_no_gate() -> None:
    assert refusal(Gates(max_memory_mb=1e9), memory_bytes=0).code == "gate_memory"
    judge(SCORES.model_copy(update={"memory_bytes": 0}), Gates())
