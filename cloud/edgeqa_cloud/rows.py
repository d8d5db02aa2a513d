"""The rows that a record becomes. Pure."""

from __future__ import annotations

from sqlalchemy import func, or_

from edgeqa.telemetry_messages import Evaluation, Model, SwapReport, Telemetry
from edgeqa_cloud.bulk import Row, Upsert
from edgeqa_cloud.reading import as_json, clean
from edgeqa_cloud.stored import Placed
from edgeqa_cloud.tables import devices, evaluations, swaps

_CODE_CHARS = 64

EVALUATION_ROWS = Upsert(
    evaluations,
    ("boot", "seq", "device_id", "time_ms", "model_name", "model_version", "model_digest",
     "trigger", "dataset", "fingerprint", "slice_id", "questions", "exact_match",
     "exact_match_low", "exact_match_high", "f1", "f1_low", "f1_high", "total_ms", "mean_ms",
     "p50_ms", "p95_ms", "p99_ms", "paired"),
    key=("boot", "seq"),
)  # fmt: skip
SWAP_ROWS = Upsert(
    swaps,
    ("boot", "seq", "device_id", "time_ms", "state", "name", "version", "digest", "wish",
     "rollout", "code", "message", "duration_ms"),
    key=("boot", "seq"),
)  # fmt: skip
# The last figures of a device. What the newest record does not say stays as it was.
_SERVING = ("answered", "p50_ms", "p95_ms", "temperature_celsius", "throttled", "resident_bytes")
_MODEL = ("model_name", "model_version", "model_digest")
_DEVICE = ("id", "device", "first_seen_ms", "last_seen_ms")
SERVING_FIGURES = Upsert(
    devices,
    (*_DEVICE, *_MODEL, "telemetry_ms", *_SERVING),
    key=("id",),
    changes=lambda new: {
        "last_seen_ms": new.last_seen_ms,
        "telemetry_ms": new.telemetry_ms,
        **{name: func.coalesce(new[name], devices.c[name]) for name in (*_MODEL, *_SERVING)},
    },
    where=lambda new: or_(
        devices.c.telemetry_ms.is_(None), new.telemetry_ms >= devices.c.telemetry_ms
    ),
)
_SCORES = ("evaluated_ms", "evaluation_questions", "exact_match", "f1")
SCORES = Upsert(
    devices,
    (*_DEVICE, *_SCORES),
    key=("id",),
    changes=lambda new: {
        "last_seen_ms": new.last_seen_ms,
        **{name: new[name] for name in _SCORES},
    },
    where=lambda new: or_(
        devices.c.evaluated_ms.is_(None), new.evaluated_ms >= devices.c.evaluated_ms
    ),
)


def evaluation_row(one: Placed) -> Row:
    """For `EVALUATION_ROWS`."""
    record: Evaluation = one.message.body
    times = record.inference
    return (
        one.boot.id, record.seq, one.boot.device_id, one.time_ms, *_model(record.model),
        str(record.trigger), clean(record.dataset.name), record.dataset.fingerprint,
        record.slice.id, record.questions, record.exact_match, *record.exact_match_interval,
        record.f1, *record.f1_interval, times.total_ms, times.mean_ms, times.p50_ms, times.p95_ms,
        times.p99_ms, as_json(record.paired),
    )  # fmt: skip


def swap_row(one: Placed) -> Row:
    """For `SWAP_ROWS`."""
    record: SwapReport = one.message.body
    reason = record.reason
    return (
        one.boot.id, record.seq, one.boot.device_id, one.time_ms, record.state, record.name,
        record.version, record.digest, _clean(record.wish), _clean(record.rollout),
        None if reason is None else clean(reason.code)[:_CODE_CHARS],
        None if reason is None else clean(reason.message), record.duration_ms,
    )  # fmt: skip


def serving_figures(one: Placed) -> Row:
    """For `SERVING_FIGURES`."""
    record: Telemetry = one.message.body
    total = record.latency.total if record.latency is not None else None
    answered = record.outcomes.get("answered", 0)
    resident = sum(process.resident_bytes for process in record.processes)
    return (
        *_device(one), *_model(record.model), one.time_ms, answered or None,
        total.quantile(0.5) if total is not None else None,
        total.quantile(0.95) if total is not None else None,
        record.temperature_celsius, as_json(record.throttled), resident or None,
    )  # fmt: skip


def scores(one: Placed) -> Row:
    """For `SCORES`."""
    record: Evaluation = one.message.body
    return (*_device(one), one.time_ms, record.questions, record.exact_match, record.f1)


def _device(one: Placed) -> tuple[int, str, int, int]:
    seen_ms = one.message.arrival.received_ms
    return one.boot.device_id, one.message.device, seen_ms, seen_ms


def _model(model: Model | None) -> tuple[str | None, str | None, str | None]:
    return (None, None, None) if model is None else (model.name, model.version, model.digest)


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)
