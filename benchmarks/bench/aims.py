"""What this project asks of its speed, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.results import latency, rows, started
from bench.state import Record
from bench.stats import Spread

_FULL_SIZE = "distilbert"
_PEERS = (
    ("transformers", 6.0, "times the transformers pipeline on torch"),
    ("optimum", 2.0, "times optimum/onnxruntime fp32"),
    ("tensorflow", 15.0, "times the published recipe (TensorFlow, padded to 384)"),
)
_MIB_IN_MB = 1.048576


@dataclass(frozen=True)
class Aim:
    """One figure; `most`: it must not be above."""

    what: str
    asked: float
    measured: float
    most: bool = False

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.measured <= self.asked if self.most else self.measured >= self.asked


def aims(records: dict[str, Record], settings: dict[str, Any]) -> list[Aim]:
    """Those that were measured."""
    found: list[Aim] = []
    for key, record in records.items():
        section, model, _ = key.split("/")
        if record.turns:
            found += _of(section, model, record, settings)
    return found


def _of(section: str, model: str, record: Record, settings: dict[str, Any]) -> Iterator[Aim]:
    ours = f"int8-edgeqa-{settings['threads']}"
    if section == "peers" and model == _FULL_SIZE:
        than = _than(record, ours)
        for peer, asked, what in _PEERS:
            if peer in than:
                yield Aim(f"{model}, int8: {what}", asked, than[peer].median)
    elif section == "broker":
        than = _than(record, "int8-broker")
        if ours in than:
            what = (
                f"{model}: through the broker, {settings['clients']} clients, of the engine alone"
            )
            yield Aim(what, 0.95, than[ours].median)
    elif section == "latency":
        share = settings["load_share"]
        load = latency(record, share).load
        if load:
            what = f"{model}: p99 by p50 at {100 * share:.0f} % load"
            yield Aim(what, 4.0, load["p99"] / load["p50"], most=True)
    elif section == "limit" and model == _FULL_SIZE:
        for one in record.turns[-1]["shares"]:
            if one["precision"] == "int8" and one["tokens"] == 160:
                what = f"{model}, int8, 160 tokens, {one['threads']} thread: of the GEMM limit"
                yield Aim(what, 0.6, one["share"])
    elif section == "start" and model == "default":
        yield from _start(record)


def _start(record: Record) -> Iterator[Aim]:
    start = started(record)
    if start.first_answer_s and start.resident_mib:
        yield Aim("start to first answer, s", 1.5, start.first_answer_s.median, most=True)
        resident = start.resident_mib.median * _MIB_IN_MB
        yield Aim("resident memory with the default model, MB", 180, resident, most=True)


def _than(record: Record, key: str) -> dict[str, Spread]:
    return next((row.than for row in rows(record) if row.key == key), {})
