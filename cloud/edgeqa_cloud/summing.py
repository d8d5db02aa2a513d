"""Adding records up to an hour, and hours to a day. Pure.

Histograms are merged by adding counts, scores weighted by their questions, loads by their time; so
a day made of hours is what a day made of records would be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeqa.histogram import Histogram, Recorder
from edgeqa.telemetry_messages import Evaluation, Telemetry

PARTS = ("total", "inference", "queue")
# What no model served.
NO_MODEL = ""


@dataclass(slots=True)
class Sum:
    """A row of `rollups` in the making: of one device, period and model."""

    records: int = 0
    covered_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    parts: dict[str, Recorder] = field(default_factory=dict)
    temperature_max_celsius: float | None = None
    resident_bytes_max: int | None = None
    load_seconds: float = 0.0
    loaded_s: float = 0.0
    reconnects: int = 0
    evaluations: int = 0
    evaluation_questions: int = 0
    exact: float = 0.0
    f1: float = 0.0

    def add_telemetry(self, record: Telemetry) -> None:
        """Count a record."""
        self.records += 1
        self.covered_s += record.interval_s
        self.outcomes.update(record.outcomes)
        for part in PARTS:
            self._merge(part, getattr(record.latency, part, None))
        hottest = record.temperature_max_celsius
        self._most_heat(record.temperature_celsius if hottest is None else hottest)
        self._most_memory(sum(one.resident_bytes for one in record.processes) or None)
        if record.cpu_load is not None:
            # A record that covers no time still says how it was.
            self._load(record.cpu_load, max(record.interval_s, 1.0))
        self.reconnects += record.reconnects

    def add_evaluation(self, record: Evaluation) -> None:
        """Count an evaluation."""
        self.records += 1
        self.evaluations += 1
        self.evaluation_questions += record.questions
        self.exact += record.exact_match * record.questions
        self.f1 += record.f1 * record.questions

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Count a row of a shorter period."""
        self.records += row["records"]
        self.covered_s += row["covered_s"]
        self.outcomes.update(row["outcomes"])
        for part in PARTS:
            self._merge(part, None if row[part] is None else Histogram.model_validate(row[part]))
        self._most_heat(row["temperature_max_celsius"])
        self._most_memory(row["resident_bytes_max"])
        if row["cpu_load_mean"] is not None:
            self._load(row["cpu_load_mean"], max(row["covered_s"], 1.0))
        self.reconnects += row["reconnects"]
        self.evaluations += row["evaluations"]
        questions = row["evaluation_questions"]
        self.evaluation_questions += questions
        self.exact += (row["exact_match"] or 0.0) * questions
        self.f1 += (row["f1"] or 0.0) * questions

    def values(self) -> dict[str, Any]:
        """The columns of the row; JSON columns as plain objects."""
        questions = self.evaluation_questions
        return {
            "records": self.records,
            "covered_s": round(self.covered_s, 3),
            "answered": self.outcomes.get("answered", 0),
            "outcomes": dict(self.outcomes),
            **{part: self._histogram(part) for part in PARTS},
            "temperature_max_celsius": self.temperature_max_celsius,
            "resident_bytes_max": self.resident_bytes_max,
            "cpu_load_mean": self.load_seconds / self.loaded_s if self.loaded_s else None,
            "reconnects": self.reconnects,
            "evaluations": self.evaluations,
            "evaluation_questions": questions,
            "exact_match": self.exact / questions if questions else None,
            "f1": self.f1 / questions if questions else None,
        }

    def _merge(self, part: str, histogram: Histogram | None) -> None:
        if histogram is not None:
            self.parts.setdefault(part, Recorder()).merge(histogram)

    def _histogram(self, part: str) -> dict[str, Any] | None:
        recorder = self.parts.get(part)
        return None if recorder is None else recorder.histogram().model_dump()

    def _most_heat(self, celsius: float | None) -> None:
        known = [one for one in (self.temperature_max_celsius, celsius) if one is not None]
        self.temperature_max_celsius = max(known, default=None)

    def _most_memory(self, size: int | None) -> None:
        known = [one for one in (self.resident_bytes_max, size) if one is not None]
        self.resident_bytes_max = max(known, default=None)

    def _load(self, share: float, seconds: float) -> None:
        self.load_seconds += share * seconds
        self.loaded_s += seconds
