"""Example payloads of the contract; a test checks that they are valid."""

from __future__ import annotations

from typing import Any

_MODEL = {
    "name": "minilm-l6-squad",
    "version": "0.1.0",
    "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_TEXT = "Oxygen was discovered by Carl Wilhelm Scheele in 1773 or earlier."
_SCHEELE = {"text": "Carl Wilhelm Scheele", "start": 25, "end": 45, "score": 0.93}

ASKS: dict[str, dict[str, Any]] = {
    "question": {"schema": 1, "id": "q1", "question": "Who found oxygen?", "context": _TEXT},
    "storedContext": {
        "schema": 1,
        "id": "q2",
        "question": "Who found oxygen?",
        "context_id": "chemistry",
        "top_k": 3,
        "deadline_ms": 2000,
    },
    "batch": {
        "schema": 1,
        "id": "b1",
        "context": _TEXT,
        "questions": [
            {"id": "1", "question": "Who found oxygen?"},
            {"id": "2", "question": "When was it found?", "top_k": 2},
        ],
    },
}

ANSWERS: dict[str, dict[str, Any]] = {
    "answer": {
        "schema": 1,
        "status": "ok",
        "id": "q1",
        "device": "pi5",
        "model": _MODEL,
        "answers": [_SCHEELE],
        "no_answer_score": 0.01,
        "windows": 1,
        "inference_ms": 21.4,
        "queue_ms": 0.2,
        "total_ms": 22.1,
    },
    "batch": {
        "schema": 1,
        "status": "ok",
        "id": "b1",
        "device": "pi5",
        "model": _MODEL,
        "results": [
            {"id": "1", "answers": [_SCHEELE], "windows": 1, "inference_ms": 21.4},
            {"id": "2", "error": {"code": "expired", "message": "its deadline passed"}},
        ],
        "inference_ms": 21.4,
        "queue_ms": 0.2,
        "total_ms": 43.0,
    },
    "refusal": {
        "schema": 1,
        "status": "error",
        "id": "q2",
        "device": "pi5",
        "error": {"code": "unknown_context", "message": "no text 'chemistry' is stored here"},
    },
}

STATUSES: dict[str, dict[str, Any]] = {
    "online": {
        "schema": 1,
        "status": "online",
        "device": "pi5",
        "boot_id": "0b2f7a1e",
        "agent_version": "0.1.0",
        "model": _MODEL,
        "groups": ["hall"],
        "hardware": {"machine": "aarch64", "cpus": 4, "memory_bytes": 8_589_934_592},
    },
    "offline": {"schema": 1, "status": "offline", "device": "pi5", "reason": "lost"},
}
