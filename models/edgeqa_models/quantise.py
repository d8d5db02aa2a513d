"""Quantise: an fp32 draft becomes the draft of a variant (`edgeqa_models.variants`).

The variants are made in `dynamic`, `blocks` and `halves`; here they are chosen, compared with their
source and written. The choices were measured; the tables are in docs/models.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgeqa.errors import ConfigError, ModelLoadError
from edgeqa.files import sha256_hex, write_atomic
from edgeqa.manifest import MODEL_FILE, TOKENIZER_FILE
from edgeqa.reader.engine import Engine
from edgeqa_models.blocks import to_blocks
from edgeqa_models.draft import Draft, open_measurable, read_draft, write_draft
from edgeqa_models.drift import Drift, measure_drift
from edgeqa_models.dynamic import Feed, to_dynamic_int8
from edgeqa_models.folders import new_folder
from edgeqa_models.halves import to_halves
from edgeqa_models.portable import demand_portable
from edgeqa_models.variants import Variant

# Our own texts (Apache-2.0), beside the check questions and apart from them: a change of these
# changes the bytes of every int8 model, a change of a check question must not.
CALIBRATION = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True, slots=True)
class Quantised:
    """What was made: bytes of the graph, and how far it is from its source."""

    bytes: int
    drift: Drift


def quantise(
    *,
    draft: Path,
    output: Path,
    texts: Sequence[tuple[str, str]],
    variant: Variant = Variant.INT8,
) -> Quantised:
    """Write a variant's draft of an fp32 draft; the same inputs give the same bytes.

    Args:
        draft: of `export`.
        output: folder to make.
        texts: typical (question, context) pairs, on which loud channels are looked for and the
            result is compared with its source.
        variant: what to make.

    Raises:
        ModelLoadError: `draft` is not a draft, or its graph is damaged.
        ConfigError: it is not fp32, or `output` exists or cannot be written.
        GateError: `parity_failed`, see `measure_drift`.
    """
    description = read_draft(draft)
    if description.precision != "fp32":
        raise ConfigError(f"{draft} is {description.precision} already; quantise an fp32 draft")
    graph = _load(draft / MODEL_FILE)
    engine = open_measurable(draft, threads=1).engine
    windows = [window for pair in texts for window in engine.prepare(*pair).windows]
    with new_folder(output) as folder:
        content = converted(graph, variant, [engine.feeds(window) for window in windows])
        write_atomic(folder / MODEL_FILE, content)
        write_atomic(folder / TOKENIZER_FILE, (draft / TOKENIZER_FILE).read_bytes())
        drift = measure_drift(engine, _open(folder, description), texts, description.sizes)
        made = {"precision": variant.value, "source_sha256": sha256_hex(draft / MODEL_FILE)}
        write_draft(folder, description.model_copy(update=made))
    return Quantised(len(content), drift)


def calibration_texts() -> list[tuple[str, str]]:
    """The (question, context) pairs that `edgeqa models quantise` uses."""
    return [(question, text) for question, text in json.loads(CALIBRATION.read_bytes())]


def converted(graph: onnx.ModelProto, variant: Variant, feeds: Sequence[Feed]) -> bytes:
    """The graph of a variant, serialised; `graph` is used up.

    Raises:
        ModelLoadError: `unsupported_operator`, or weights that the variant cannot hold.
    """
    match variant:
        case Variant.INT8:
            graph = to_dynamic_int8(graph, feeds)
        case Variant.INT8_BLOCK:
            graph = to_blocks(graph, 8)
        case Variant.INT4_BLOCK:
            graph = to_blocks(graph, 4)
        case Variant.FP16:
            graph = to_halves(graph)
    demand_portable(graph)
    return bytes(graph.SerializeToString(deterministic=True))


def _load(path: Path) -> onnx.ModelProto:
    try:
        graph = onnx.load(path)
        onnx.checker.check_model(graph)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelLoadError(f"{path}: not an ONNX graph: {reason}") from error
    return graph


def _open(folder: Path, draft: Draft) -> Engine:
    return Engine.load_files(
        model=folder / MODEL_FILE,
        tokenizer=folder / TOKENIZER_FILE,
        vocabulary=draft.architecture.vocabulary,
        sizes=draft.sizes,
        threads=1,
    )
