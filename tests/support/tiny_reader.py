"""Packages that load, of a graph that only looks each token up: made in no time, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeqa.manifest import Package, open_package
from support.tiny import WORDS, make_tokenizer

MAX_SEQ_LEN = 48
# The word that the weights of `word_weights` point at.
WORD = "pump"
CHECK = {"question": "what stops ?", "context": f"the {WORD} of the tank", "answers": [WORD]}


def word_weights() -> np.ndarray:
    """float32[vocabulary, 2]: a reader that answers every question with `WORD`."""
    tokenizer = make_tokenizer()
    weights = np.zeros((tokenizer.get_vocab_size(), 2), np.float32)
    weights[tokenizer.token_to_id(WORD)] = 20
    return weights


def reader_graph(weights: np.ndarray) -> bytes:
    """Start and end logit of each token, whatever stands beside it."""
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["both"]),
        helper.make_node("Split", ["both"], ["start", "end"], axis=2, num_outputs=2),
        helper.make_node("Squeeze", ["start", "last"], ["start_logits"]),
        helper.make_node("Squeeze", ["end", "last"], ["end_logits"]),
    ]
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in ("start_logits", "end_logits")
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def reader_package(
    folder: Path,
    *,
    weights: np.ndarray | None = None,
    checks: Sequence[dict[str, object]] = (CHECK,),
    name: str = "tiny-reader",
    version: str = "1.0.0",
) -> Package:
    """`folder`/`name`-`version`, a package with a true manifest."""
    made = word_weights() if weights is None else weights
    contents = {
        "model.onnx": reader_graph(made),
        "tokenizer.json": make_tokenizer().to_str().encode(),
        "checks.json": json.dumps(list(checks)).encode(),
    }
    path = folder / f"{name}-{version}"
    path.mkdir(parents=True)
    for file, content in contents.items():
        (path / file).write_bytes(content)
    manifest = {
        "schema": 1,
        "name": name,
        "version": version,
        "architecture": {"type": "bert", "layers": 1, "hidden": 2, "heads": 1,
                         "vocabulary": len(made), "parameters": made.size},
        "precision": "fp32",
        "sizes": {"max_seq_len": MAX_SEQ_LEN, "doc_stride": 8, "max_question_tokens": 16,
                  "max_answer_tokens": 12},
        "files": {
            file: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for file, content in contents.items()
        },
        "licence": "Apache-2.0",
        "training": {"base": "b", "base_licence": "Apache-2.0", "data": [], "recipe": {}},
        "scores": [],
    }  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return open_package(path)


def long_context(words: int) -> str:
    """`WORD` behind many others."""
    others = [word for word in WORDS if word != WORD]
    return " ".join([*(others[index % len(others)] for index in range(words - 1)), WORD])
