"""Telemetry payloads: impossible values are refused with the field at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeqa.errors import PayloadError
from edgeqa.messages import Wire, parse_payload
from edgeqa.telemetry_examples import EVALUATIONS, HEARTBEATS, RESEND, SWAPS, TELEMETRY
from edgeqa.telemetry_messages import (
    MAX_INT,
    MAX_OUTCOMES,
    MAX_RANGES,
    Evaluation,
    Heartbeat,
    ResendCommand,
    SwapReport,
    Telemetry,
)


def changed(example: dict[str, Any], path: str, value: Any) -> bytes:
    payload = json.loads(json.dumps(example))
    *parents, last = path.split(".")
    node = payload
    for parent in parents:
        node = node[parent]
    node[last] = value
    return json.dumps(payload).encode()


@pytest.mark.parametrize(
    ("kind", "example", "path", "value"),
    [
        (Evaluation, EVALUATIONS["afterSwap"], "exact_match", 140),
        (Evaluation, EVALUATIONS["afterSwap"], "f1", -0.1),
        (Evaluation, EVALUATIONS["afterSwap"], "f1", float("nan")),
        (Evaluation, EVALUATIONS["afterSwap"], "f1_interval", [90.0, 80.0]),
        (Evaluation, EVALUATIONS["afterSwap"], "questions", 0),
        (Evaluation, EVALUATIONS["afterSwap"], "inference.p95_ms", -1.0),
        (Evaluation, EVALUATIONS["afterSwap"], "inference.total_ms", float("inf")),
        (Evaluation, EVALUATIONS["afterSwap"], "model.name", "<script>alert(1)</script>"),
        (Evaluation, EVALUATIONS["afterSwap"], "model.version", "1.0"),
        (Evaluation, EVALUATIONS["afterSwap"], "model.digest", "sha256:00"),
        (Evaluation, EVALUATIONS["afterSwap"], "trigger", "whim"),
        (Evaluation, EVALUATIONS["afterSwap"], "dataset.name", ""),
        (Evaluation, EVALUATIONS["afterSwap"], "paired.f1_difference", -101.0),
        (Telemetry, TELEMETRY["serving"], "interval_s", -60.0),
        (Telemetry, TELEMETRY["serving"], "seq", 0),
        (Telemetry, TELEMETRY["serving"], "seq", MAX_INT + 1),
        (Telemetry, TELEMETRY["serving"], "time_ms", -1),
        (Telemetry, TELEMETRY["serving"], "device", "../pi5"),
        (Telemetry, TELEMETRY["serving"], "boot_id", "'; DROP TABLE records; --"),
        (Telemetry, TELEMETRY["serving"], "outcomes.answered", -1),
        (Telemetry, TELEMETRY["serving"], "outcomes", {"<b>": 1}),
        (Telemetry, TELEMETRY["serving"], "outcomes",
         {f"c{n}": 1 for n in range(MAX_OUTCOMES + 1)}),
        (Telemetry, TELEMETRY["serving"], "cpu_load", 1.5),
        (Telemetry, TELEMETRY["serving"], "temperature_celsius", 4000),
        (Telemetry, TELEMETRY["serving"], "latency.total.counts", [1]),
        (SwapReport, SWAPS["failed"], "state", "fetching"),
        (SwapReport, SWAPS["failed"], "duration_ms", -5),
        (Heartbeat, HEARTBEATS["heartbeat"], "interval_s", 0),
        (Heartbeat, HEARTBEATS["afterConnect"], "boots",
         [{"boot_id": "a", "first": 1, "last": 1}] * (MAX_RANGES + 1)),
        (ResendCommand, RESEND["resend"], "ranges", []),
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused(
    kind: type[Wire], example: dict[str, Any], path: str, value: Any
) -> None:
    assert parse_payload(kind, json.dumps(example).encode())
    with pytest.raises(PayloadError, match=path.partition(".")[0]) as caught:
        parse_payload(kind, changed(example, path, value))
    assert caught.value.code in {"invalid_payload", "not_json"}


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused_as_such(schema: Any) -> None:
    with pytest.raises(PayloadError) as caught:
        parse_payload(Telemetry, changed(TELEMETRY["serving"], "schema", schema))
    assert caught.value.code == "unsupported_schema"


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    later = changed(TELEMETRY["serving"], "latency.gpu", {"anything": 1})
    assert parse_payload(Telemetry, later).outcomes == TELEMETRY["serving"]["outcomes"]
