"""Reports of evaluations that never took place."""

from __future__ import annotations

from typing import Any

from edgeqa_models.report import Report


def make_report(precision: str, model_sha256: str, **changes: Any) -> Report:
    """A complete report of 24 questions with F1 80 and EM 70, but for `changes`."""
    values = {"exact_match": 70.0, "f1": 80.0, **changes}
    exact, f1 = values["exact_match"], values["f1"]
    return Report(
        **{
            "dataset": "tiny",
            "fingerprint": "0" * 64,
            "task": "squad_v1",
            "precision": precision,
            "model_sha256": model_sha256,
            "model_bytes": 1_000_000,
            "complete": True,
            "questions": 24,
            "refused": 0,
            "exact_match_interval": (exact - 5, exact + 5),
            "f1_interval": (f1 - 5, f1 + 5),
            "seconds": 1.0,
            "questions_per_s": 24.0,
            "p50_ms": 1.5,
            "p95_ms": 2.5,
            "p99_ms": 3.5,
            "peak_memory_bytes": 100_000_000,
            "machine": "test",
            "threads": 1,
            **values,
        }
    )
