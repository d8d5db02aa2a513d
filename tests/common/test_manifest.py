"""Opening packages: every way in which one can be malformed or damaged has its code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeqa.errors import EdgeqaError, ModelLoadError, VerificationError
from edgeqa.manifest import MAX_MANIFEST_BYTES, Manifest, open_package

FILES = {"model.onnx": b"weights" * 100, "tokenizer.json": b"{}", "checks.json": b"[]"}


def manifest() -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "tiny",
        "version": "1.2.3",
        "architecture": {
            "type": "bert",
            "layers": 2,
            "hidden": 32,
            "heads": 2,
            "vocabulary": 100,
            "parameters": 1000,
        },
        "precision": "int8",
        "sizes": {
            "max_seq_len": 384,
            "doc_stride": 128,
            "max_question_tokens": 64,
            "max_answer_tokens": 30,
        },
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in FILES.items()
        },
        "licence": "Apache-2.0",
        "training": {"base": "b", "base_licence": "l", "data": [], "recipe": {}},
        "scores": [],
    }


def card(**changes: Any) -> dict[str, Any]:
    return {
        "variant": "int8",
        "packaged": True,
        "model_sha256": hashlib.sha256(FILES["model.onnx"]).hexdigest(),
        "model_bytes": 700,
        "dataset": "d",
        "fingerprint": "f",
        "task": "squad_v1",
        "questions": 10,
        "exact_match": 70.0,
        "exact_match_interval": [60.0, 80.0],
        "f1": 80.0,
        "f1_interval": [70.0, 90.0],
        "questions_per_s": 5.0,
        "p50_ms": 1.0,
        "p95_ms": 2.0,
        "peak_memory_bytes": 1000,
        "machine": "m",
        "threads": 1,
        **changes,
    }


FORCED = {
    "reason": "a demonstration",
    "exact_match_lost": 3.0,
    "f1_lost": 2.0,
    "max_exact_match_loss": 1.0,
    "max_f1_loss": 0.5,
}


def write(folder: Path, description: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(description or manifest()))
    return folder


def test_a_sound_package_opens_and_is_named_by_its_manifest(tmp_path: Path) -> None:
    folder = write(tmp_path / "p")
    package = open_package(folder)
    raw = (folder / "manifest.json").read_bytes()
    assert package.ref.digest == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert (package.ref.name, package.ref.version) == ("tiny", "1.2.3")


def test_fields_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    open_package(write(tmp_path / "p", {**manifest(), "colour": "blue"}))


def test_cards_and_force_are_read_and_older_packages_have_none(tmp_path: Path) -> None:
    old = open_package(write(tmp_path / "old")).manifest
    assert (old.cards, old.forced) == ([], None)
    fp32 = card(variant="fp32", packaged=False, model_sha256="0" * 64)
    description = {**manifest(), "cards": [fp32, card()], "forced": FORCED}
    new = open_package(write(tmp_path / "new", description)).manifest
    assert [(one.variant, one.packaged) for one in new.cards] == [("fp32", False), ("int8", True)]
    assert new.forced is not None
    assert new.forced.reason == "a demonstration"


def test_the_first_published_manifest_is_still_read() -> None:
    """minilm-l6-squad 0.1.0, from before there were score cards, as devices have it."""
    path = Path(__file__).parents[1] / "support" / "minilm-l6-squad-0.1.0.manifest.json"
    raw = path.read_bytes()
    assert hashlib.sha256(raw).hexdigest() == (
        "e982e8e33d217acd57434087997c838b3807c22c0d6208d9100ae775a199d725"
    )
    read = Manifest.model_validate_json(raw)
    assert (read.cards, read.forced) == ([], None)
    assert {score.precision: score.f1 for score in read.scores} == {"fp32": 80.37, "int8": 80.15}


def _set(*path: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(description: dict[str, Any]) -> None:
        place = description
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(description: dict[str, Any]) -> None:
        place = description
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        *[(_drop(field), field) for field in manifest()],
        (_drop("files", "model.onnx"), "model.onnx"),
        (_drop("files", "tokenizer.json"), "tokenizer.json"),
        (_drop("files", "checks.json"), "checks.json"),
        (_set("schema", to=2), "schema"),
        (_set("name", to="../up"), "name"),
        (_set("name", to=""), "name"),
        (_set("version", to="1.2"), "version"),
        (_set("version", to="1.2.3\n"), "version"),
        (_set("precision", to="int4"), "precision"),
        (_set("precision", to="int8-of-a-later-version"), "precision"),
        (_set("cards", to=[card(packaged=False)]), "cards"),
        (_set("cards", to=[card(), card()]), "cards"),
        (_set("cards", to=[card(model_sha256="0" * 64)]), "cards"),
        (_set("cards", to=[card(variant="fp32")]), "cards"),
        (_set("cards", to=[card(f1=101.0)]), "cards.0.f1"),
        (_set("forced", to={**FORCED, "reason": ""}), "forced.reason"),
        (_set("forced", to={**FORCED, "reason": "\x1b[2J"}), "forced.reason"),
        (_set("architecture", "type", to="gpt2"), "architecture.type"),
        (_set("architecture", "layers", to=0), "architecture.layers"),
        (_set("architecture", "layers", to="many"), "architecture.layers"),
        (_set("sizes", "doc_stride", to=317), "sizes"),
        (_set("sizes", "max_seq_len", to=1 << 20), "sizes.max_seq_len"),
        (_set("files", to=[]), "files"),
        (_set("files", "model.onnx", "sha256", to="ABC"), "files.model.onnx.sha256"),
        (_set("files", "model.onnx", "bytes", to=0), "files.model.onnx.bytes"),
        (_set("files", "model.onnx", "bytes", to=1 << 40), "files.model.onnx.bytes"),
        (_set("files", "../x", to={"sha256": "0" * 64, "bytes": 1}), "files"),
        (_set("files", "a/b", to={"sha256": "0" * 64, "bytes": 1}), "files"),
        (_set("files", "manifest.json", to={"sha256": "0" * 64, "bytes": 1}), "manifest.json"),
    ],
)
def test_a_malformed_manifest_is_refused_by_field(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    description = manifest()
    change(description)
    with pytest.raises(ModelLoadError) as caught:
        open_package(write(tmp_path / "p", description))
    assert caught.value.code == "package_malformed"
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b"\0" * 10, b"[" * 100_000, b'{"schema": NaN}'],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, raw: bytes) -> None:
    folder = write(tmp_path / "p")
    (folder / "manifest.json").write_bytes(raw)
    with pytest.raises(ModelLoadError) as caught:
        open_package(folder)
    assert caught.value.code == "package_malformed"


def test_a_huge_manifest_is_not_parsed(tmp_path: Path) -> None:
    folder = write(tmp_path / "p")
    (folder / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(ModelLoadError, match="larger than") as caught:
        open_package(folder)
    assert caught.value.code == "package_malformed"


def test_no_folder_no_manifest_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "manifest.json").mkdir()
    for name in ("none", "empty", "file", "odd"):
        with pytest.raises(ModelLoadError) as caught:
            open_package(tmp_path / name)
        assert caught.value.code == "package_malformed"


@pytest.mark.parametrize("name", list(FILES))
def test_a_missing_truncated_longer_linked_or_flipped_file_is_refused(
    tmp_path: Path, name: str
) -> None:
    content = FILES[name]
    flipped = bytes([content[0] ^ 1]) + content[1:]
    for bad in (content[:-1], content + b"\0", flipped, b""):
        folder = write(tmp_path / "p")
        (folder / name).write_bytes(bad)
        with pytest.raises(VerificationError, match=name) as caught:
            open_package(folder)
        assert caught.value.code == "digest_mismatch"
    (tmp_path / "elsewhere").write_bytes(content)
    (folder / name).unlink()
    for make in (lambda: None, lambda: (folder / name).symlink_to(tmp_path / "elsewhere")):
        make()
        with pytest.raises(VerificationError) as caught:
            open_package(folder)
        assert caught.value.code == "digest_mismatch"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_flipped_bit_changes_the_digest_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = write(tmp_path_factory.getbasetemp() / "flip")
    digest = open_package(folder).digest
    name = data.draw(st.sampled_from([*FILES, "manifest.json"]))
    content = bytearray((folder / name).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(content)
    try:
        assert open_package(folder).digest != digest
    except EdgeqaError as error:
        assert error.code in {"package_malformed", "digest_mismatch"}  # noqa: PT017  either is right


@pytest.mark.parametrize("raw", [b"{", b"{}", b"3", b"[]", b"[3]", b'[{"question": "q"}]', b"null"])
def test_checks_that_are_none_are_refused(tmp_path: Path, raw: bytes) -> None:
    description = manifest()
    description["files"]["checks.json"] = {
        "sha256": hashlib.sha256(raw).hexdigest(),
        "bytes": len(raw),
    }
    folder = write(tmp_path / "p", description)
    (folder / "checks.json").write_bytes(raw)
    with pytest.raises(ModelLoadError):
        open_package(folder).checks()
