"""Weights read where they stand in a graph's file, by every session of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeqa.errors import VerificationError
from edgeqa.manifest import MODEL_FILE, open_package
from edgeqa.plain_package import PlainPackage
from edgeqa.reader.loading import OUTPUTS, load_session
from edgeqa.reader.weights import Weights
from edgeqa_agent.settings import default_package

PACKAGES = sorted((Path(__file__).parents[2] / "models" / "packages").iterdir())


def feeds(session: ort.InferenceSession, tokens: int) -> dict[str, np.ndarray]:
    words = np.random.default_rng(tokens).integers(1000, 28000, (1, tokens))
    ones = np.ones((1, tokens), np.int64)
    return {i.name: words if i.name == "input_ids" else ones for i in session.get_inputs()}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_graph_gives_the_same_bits_with_weights_of_its_own(package: Path) -> None:
    path = package / MODEL_FILE
    weights = Weights.of(path)
    assert weights.bytes > 0.9 * path.stat().st_size
    mapped, own = load_session(path, 1, weights=weights), load_session(path, 1)
    weights.release()
    for tokens in (5, 150):
        given_to = feeds(own, tokens)
        pairs = zip(mapped.run(OUTPUTS, given_to), own.run(OUTPUTS, given_to), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def table_graph(values: np.ndarray, name: str = "g") -> onnx.ModelProto:
    """Looks one row of a table up; the name's length moves where the table stands in the file."""
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "row"], ["found"])],
        name,
        [helper.make_tensor_value_info("row", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("found", kind, [1, values.shape[1]])],
        [numpy_helper.from_array(values, "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8, np.uint8, np.int32, np.int64])
def test_each_type_of_weights_is_read_as_it_is_wherever_it_stands(
    tmp_path: Path, kind: type[np.generic]
) -> None:
    values = (np.arange(600 * 300) % 125).reshape(600, 300).astype(kind)
    shared = 0
    for length in range(1, 9):
        path = tmp_path / f"{length}.onnx"
        onnx.save(table_graph(values, "g" * length), path)
        weights = Weights.of(path)
        shared += weights.bytes > 0
        options = ort.SessionOptions()
        weights.give_to(options)
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        weights.release()
        [row] = session.run(None, {"row": np.array([417], np.int64)})
        assert np.array_equal(row[0], values[417])
    # One in as many starts as an item has bytes may be read in place; the others are copied.
    assert shared == 8 / values.itemsize


def test_a_file_that_is_no_graph_shares_nothing(tmp_path: Path) -> None:
    for number, content in enumerate([b"", b"\x3a", b"PK\x03\x04" * 100, b"\x3a\xff\xff\xff\x7f"]):
        path = tmp_path / str(number)
        path.write_bytes(content)
        assert Weights.of(path).bytes == 0
    assert Weights.of(tmp_path / "missing").bytes == 0


GRAPH = table_graph(np.arange(70_000, dtype=np.int8).reshape(700, 100)).SerializeToString()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=12), st.integers(0, len(GRAPH)))
def test_a_damaged_graph_harms_nobody(
    tmp_path_factory: pytest.TempPathFactory, place: int, noise: bytes, kept: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    # What says where things are stands before and behind the weights.
    place = place if place < 200 else len(GRAPH) - place + 200
    path.write_bytes((GRAPH[:place] + noise + GRAPH[place + len(noise) :])[: max(kept, 200)])
    assert Weights.of(path).bytes <= path.stat().st_size


LIBRARIES = """
import sys, edgeqa_agent.model_main
print({"pydantic", "structlog", "typer", "paho"} & set(sys.modules))
"""


def test_a_model_process_has_no_library_of_data_models() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LIBRARIES],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "set()"


def test_plain_data_name_the_same_package() -> None:
    package = open_package(default_package())
    plain = PlainPackage.decode(package.plain().encode())
    plain.verify()
    assert plain == package.plain()
    assert [check.question for check in plain.checks()] == [c.question for c in package.checks()]


def test_a_file_that_changed_since_is_refused(tmp_path: Path) -> None:
    package = open_package(default_package())
    for name in package.manifest.files:
        (tmp_path / name).write_bytes(package.file(name).read_bytes())
    plain = PlainPackage.decode(package.plain().encode().replace(str(package.path), str(tmp_path)))
    plain.verify()
    with (tmp_path / MODEL_FILE).open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0\0\0\0")
    with pytest.raises(VerificationError, match="SHA-256 is not the manifest's"):
        plain.verify()
