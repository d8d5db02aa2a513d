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

_NEW = {
    "name": "minilm-l3-distil-squad",
    "version": "0.1.0",
    "digest": "sha256:4f0f5e3d9c1b7a2e8d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706",
}
_WISH = "5b0c1d9e2f3a48576c8d9eafb0c1d2e3"
_CHECKS = {
    "questions": 12,
    "exact_match": 100.0,
    "f1": 100.0,
    "p50_ms": 19.8,
    "p95_ms": 31.2,
    "memory_bytes": 130_023_424,
    "load_ms": 1480.0,
}
_REPORT = {
    "schema": 1,
    "device": "pi5",
    "boot_id": "0b2f7a1e",
    "time_ms": 1_795_000_000_000,
    "name": "minilm-l3-distil-squad",
    "version": "0.1.0",
    "wish": _WISH,
    "active": _MODEL,
}

WISHES: dict[str, dict[str, Any]] = {
    "wish": {"schema": 1, "id": _WISH, "name": "minilm-l3-distil-squad", "version": "0.1.0"},
    "carefulWish": {
        "schema": 1,
        "id": _WISH,
        **_NEW,
        "rollout": "2026-11-small-models",
        "gates": {"min_f1": 90.0, "max_p95_ms": 250.0, "max_memory_mb": 512.0},
        "shadow": {
            "fraction": 0.2,
            "questions": 200,
            "min_agreement": 0.8,
            "max_latency_ratio": 1.0,
            "timeout_s": 3600.0,
        },
    },
}

REPORTS: dict[str, dict[str, Any]] = {
    "fetching": {**_REPORT, "state": "fetching", "progress": 42},
    "waiting": {
        **_REPORT,
        "state": "fetching",
        "progress": 42,
        "reason": {"code": "repository_unreachable", "message": "models.example: no route"},
    },
    "shadow": {
        **_REPORT,
        "state": "testing",
        "digest": _NEW["digest"],
        "checks": _CHECKS,
        "shadow": {
            "questions": 120,
            "wanted": 200,
            "exact_agreement": 0.85,
            "f1_agreement": 0.91,
            "latency_ratio": 0.55,
        },
    },
    "active": {
        **_REPORT,
        "state": "active",
        "digest": _NEW["digest"],
        "active": _NEW,
        "previous": _MODEL,
        "checks": _CHECKS,
    },
    "failed": {
        **_REPORT,
        "state": "failed",
        "digest": _NEW["digest"],
        "reason": {"code": "gate_latency", "message": "p95 312.0 ms, the wish allows 250.0"},
    },
}

COMMANDS: dict[str, dict[str, Any]] = {
    "command": {
        "schema": 1,
        "id": "c1",
        "number": 1_795_000_000_000,
        "expires_ms": 1_795_000_060_000,
    },
}

_REPLY = {
    "schema": 1,
    "status": "ok",
    "device": "pi5",
    "boot_id": "0b2f7a1e",
    "id": "c1",
    "number": 1_795_000_000_000,
    "active": _MODEL,
}

COMMAND_REPLIES: dict[str, dict[str, Any]] = {
    "rollback": {**_REPLY, "verb": "rollback"},
    "packages": {
        **_REPLY,
        "verb": "packages",
        "packages": [
            {"model": _MODEL, "role": "active", "embedded": True, "bytes": 24_117_248},
            {"model": _NEW, "role": "previous", "embedded": False, "bytes": 18_874_368},
        ],
    },
    "prune": {**_REPLY, "verb": "prune", "freed_bytes": 18_874_368},
    "refusal": {
        **_REPLY,
        "status": "error",
        "verb": "rollback",
        "error": {"code": "nothing_to_roll_back", "message": "there is no previous model"},
    },
}
