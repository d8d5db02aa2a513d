"""The gates that a loaded model must pass before it serves."""

from __future__ import annotations

from collections.abc import Iterator

from edgeqa.errors import GateError
from edgeqa.model_messages import CheckScores, Gates

_MIB = 1 << 20


def judge(scores: CheckScores, *gates: Gates | None) -> None:
    """Refuse a model that misses a gate; of several gates on one measure the stricter holds.

    Args:
        scores: what the model reached on its check questions, on this device.
        gates: those of the device, those of the wish; a missing one demands nothing.

    Raises:
        GateError: `gate_accuracy`, `gate_latency` or `gate_memory`; if it misses several, the code
            is that of the first and the message names them all.
    """
    there = [gate for gate in gates if gate is not None]
    missed = [
        *_accuracy(scores, there),
        *_latency(scores, there),
        *_memory(scores, there),
    ]
    if missed:
        raise GateError("; ".join(message for _, message in missed), code=missed[0][0])


def _accuracy(scores: CheckScores, gates: list[Gates]) -> Iterator[tuple[str, str]]:
    for measure, measured, limits in (
        ("exact match", scores.exact_match, [gate.min_exact_match for gate in gates]),
        ("F1", scores.f1, [gate.min_f1 for gate in gates]),
    ):
        least = max(_said(limits), default=None)
        if least is not None and measured < least:
            message = (
                f"{measure} of the {scores.questions} check questions is {_number(measured)} %; "
                f"at least {_number(least)} % is demanded"
            )
            yield "gate_accuracy", message


def _latency(scores: CheckScores, gates: list[Gates]) -> Iterator[tuple[str, str]]:
    most = min(_said([gate.max_p95_ms for gate in gates]), default=None)
    if most is not None and scores.p95_ms > most:
        message = (
            f"p95 of the inference time of the {scores.questions} check questions is "
            f"{_number(scores.p95_ms)} ms; at most {_number(most)} ms is allowed"
        )
        yield "gate_latency", message


def _memory(scores: CheckScores, gates: list[Gates]) -> Iterator[tuple[str, str]]:
    most = min(_said([gate.max_memory_mb for gate in gates]), default=None)
    if most is None:
        return
    if scores.memory_bytes == 0:  # a gate is passed by what was measured, not by what was not
        yield "gate_memory", "the memory that the loaded model takes cannot be measured here"
    elif scores.memory_bytes > most * _MIB:
        message = (
            f"the loaded model takes {_number(scores.memory_bytes / _MIB)} MiB of memory; at most "
            f"{_number(most)} MiB is allowed"
        )
        yield "gate_memory", message


def _said(limits: list[float | None]) -> list[float]:
    return [limit for limit in limits if limit is not None]


def _number(value: float) -> str:
    return f"{round(value, 2):.12g}"
