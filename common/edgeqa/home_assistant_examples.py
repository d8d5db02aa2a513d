"""Examples of what a device publishes for Home Assistant, for the AsyncAPI document."""

from __future__ import annotations

from typing import Any

HOME_STATES: dict[str, dict[str, Any]] = {
    "state": {
        "schema": 1,
        "exact_match": 70.21,
        "f1": 80.15,
        "latency_p95_ms": 61.3,
        "temperature_celsius": 52.4,
        "memory_mib": 196,
        "answered": 412,
        "model": "minilm-l6-squad 0.1.1",
    },
}
HOME_ANSWERS: dict[str, dict[str, Any]] = {
    "answer": {
        "schema": 1,
        "answer": "Carl Wilhelm Scheele",
        "attributes": {
            "question": "Who discovered oxygen?",
            "context_id": "home",
            "text": "Carl Wilhelm Scheele",
            "score": 0.984,
            "model": "minilm-l6-squad 0.1.1",
            "inference_ms": 3.7,
            "error": None,
            "reason": None,
        },
    },
}
