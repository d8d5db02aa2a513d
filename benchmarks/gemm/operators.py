"""Where the time of a graph goes, by operator, as onnxruntime's profiler counts it."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_RUNS = 15
_WARM = 3


@dataclass(frozen=True, slots=True)
class Operator:
    """All calls of one operator in one inference."""

    name: str
    calls: float
    milliseconds: float
    share: float


def profile(model: Path, tokens: int, threads: int) -> list[Operator]:
    """Mean of some inferences of one window, longest first."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        asked = feeds(session, tokens)
        for _ in range(_WARM + _RUNS):
            session.run(None, asked)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _summed(events)


def feeds(session: ort.InferenceSession, tokens: int) -> dict[str, np.ndarray]:
    """One window without padding, in the types that the graph takes."""
    values: dict[str, Any] = {
        "input_ids": np.arange(tokens) * 37 % 20000 + 1000,
        "token_type_ids": np.arange(tokens) > tokens // 8,
    }
    return {
        node.name: np.asarray(values.get(node.name, np.ones(tokens)), _TYPES[node.type])[None]
        for node in session.get_inputs()
    }


def _summed(events: Sequence[dict[str, Any]]) -> list[Operator]:
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("kernel_time")]
    # Each node ran equally often; the first runs warm up.
    seen: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in nodes:
        seen[event["name"]] += 1
        if seen[event["name"]] > _WARM:
            name = event["args"]["op_name"]
            spent[name] += event["dur"]
            calls[name] += 1
    whole = sum(spent.values())
    return [
        Operator(name, calls[name] / _RUNS, spent[name] / _RUNS / 1000, spent[name] / whole)
        for name, _ in spent.most_common()
    ]
