"""Example payloads of telemetry; a test checks that they are valid."""

from __future__ import annotations

from typing import Any

_MODEL = {
    "name": "minilm-l6-squad",
    "version": "0.1.1",
    "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_NEW = {
    "name": "minilm-l3-distil-squad",
    "version": "0.2.0",
    "digest": "sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706",
}
_RECORD = {
    "schema": 1,
    "device": "pi5",
    "boot_id": "0b2f7a1e",
    "seq": 41,
    "time_ms": 1_795_000_000_000,
    "uptime_ms": 2_460_000,
}
_CHECKS = {
    "questions": 29,
    "exact_match": 100.0,
    "f1": 100.0,
    "p50_ms": 8.7,
    "p95_ms": 58.3,
    "memory_bytes": 130_023_424,
    "load_ms": 1480.0,
}

HEARTBEATS: dict[str, dict[str, Any]] = {
    "heartbeat": {
        "schema": 1,
        "device": "pi5",
        "boot_id": "0b2f7a1e",
        "time_ms": 1_795_000_000_000,
        "uptime_ms": 2_460_000,
        "interval_s": 60.0,
        "seq": 41,
    },
    "afterConnect": {
        "schema": 1,
        "device": "pi5",
        "boot_id": "0b2f7a1e",
        "time_ms": 1_795_000_000_000,
        "uptime_ms": 250,
        "interval_s": 60.0,
        "seq": 0,
        "boots": [{"boot_id": "f3c09b77", "first": 12, "last": 1473}],
    },
}

TELEMETRY: dict[str, dict[str, Any]] = {
    "serving": {
        **_RECORD,
        "interval_s": 60.0,
        "model": _MODEL,
        "outcomes": {"answered": 3, "unknown_context": 1},
        "cached": 0,
        "latency": {
            "queue": {"scale": 3, "count": 3, "sum": 2.1, "offset": -6, "counts": [2, 1]},
            "tokenise": {"scale": 3, "count": 3, "sum": 1.4, "offset": -10, "counts": [3]},
            "inference": {"scale": 3, "count": 3, "sum": 64.2, "offset": 34, "counts": [1, 2]},
            "decode": {"scale": 3, "count": 3, "sum": 0.9, "offset": -15, "counts": [3]},
            "publish": {"scale": 3, "count": 3, "sum": 3.3, "offset": 0, "counts": [3]},
            "total": {"scale": 3, "count": 3, "sum": 69.7, "offset": 35, "counts": [3]},
        },
        "batch": {"scale": 3, "count": 4, "sum": 4.0, "offset": -1, "counts": [4]},
        "queue_depth": 0,
        "queue_depth_max": 2,
        "processes": [
            {"role": "agent", "resident_bytes": 62_914_560},
            {"role": "model", "resident_bytes": 171_966_464},
        ],
        "memory_available_bytes": 7_021_264_896,
        "memory_total_bytes": 8_454_418_432,
        "cpu_load": 0.031,
        "temperature_celsius": 51.6,
        "temperature_max_celsius": 52.2,
        "throttled": ["under_voltage_occurred"],
        "disk_free_bytes": 21_474_836_480,
        "disk_total_bytes": 31_138_512_896,
        "host_uptime_s": 93_771.2,
        "reconnects": 0,
        "outbox": {"waiting": 1, "bytes": 48_211, "dropped": {}},
    },
}

EVALUATIONS: dict[str, dict[str, Any]] = {
    "afterSwap": {
        **_RECORD,
        "model": _NEW,
        "trigger": "swap",
        "dataset": {
            "name": "edgeqa-devices",
            "fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "task": "squad_v2",
            "questions": 594,
        },
        "slice": {"id": "s0b2f7a1e9c4d8e3f", "index": 3, "of": 12},
        "questions": 50,
        "exact_match": 78.0,
        "exact_match_interval": [64.8, 87.2],
        "f1": 86.1,
        "f1_interval": [77.9, 93.0],
        "inference": {
            "total_ms": 1043.0,
            "mean_ms": 20.86,
            "p50_ms": 19.4,
            "p95_ms": 31.0,
            "p99_ms": 38.2,
        },
        "duration_ms": 10_412.0,
        "waited_ms": 9_102.0,
        "paired": {
            "previous": _MODEL,
            "questions": 50,
            "exact_match_difference": -4.0,
            "exact_match_interval": [-12.0, 4.0],
            "f1_difference": -3.1,
            "f1_interval": [-8.8, 2.2],
            "exact_match_gained": 1,
            "exact_match_lost": 3,
        },
    },
}

SWAPS: dict[str, dict[str, Any]] = {
    "active": {
        **_RECORD,
        "state": "active",
        **_NEW,
        "wish": "5b0c1d9e2f3a48576c8d9eafb0c1d2e3",
        "rollout": "2026-11-small-models",
        "active": _NEW,
        "previous": _MODEL,
        "checks": _CHECKS,
        "duration_ms": 5120.0,
    },
    "failed": {
        **_RECORD,
        "state": "failed",
        **_NEW,
        "wish": "5b0c1d9e2f3a48576c8d9eafb0c1d2e3",
        "reason": {"code": "gate_latency", "message": "p95 312.0 ms, the wish allows 250.0"},
        "active": _MODEL,
        "duration_ms": 4875.0,
    },
}

RESEND: dict[str, dict[str, Any]] = {
    "resend": {
        "schema": 1,
        "id": "c2",
        "number": 1_795_000_000_001,
        "expires_ms": 1_795_000_060_000,
        "ranges": [{"boot_id": "0b2f7a1e", "first": 12, "last": 14}],
    },
}

EVALUATE: dict[str, dict[str, Any]] = {
    "evaluate": {
        "schema": 1,
        "id": "c3",
        "number": 1_795_000_000_002,
        "expires_ms": 1_795_000_060_000,
        "questions": 100,
        "slice": 4,
    },
}
