"""The model package: a folder with a manifest that fixes every byte of it.

A package is `manifest.json` and the files it lists, by SHA-256 and length. Its digest, the
SHA-256 of `manifest.json`, therefore names the whole package; it stands in every answer.
Nothing of a package is parsed but the manifest before `open_package` has checked every file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from edgeqa import plain_package
from edgeqa.errors import ModelLoadError
from edgeqa.messages import ModelRef, Name
from edgeqa.plain_package import PlainFile, PlainPackage, PlainSizes, verify_file
from edgeqa.scores import Forced, ScoreCard

MANIFEST_FILE = "manifest.json"
MODEL_FILE = plain_package.MODEL_FILE
TOKENIZER_FILE = plain_package.TOKENIZER_FILE
CHECKS_FILE = plain_package.CHECKS_FILE
REQUIRED_FILES = (MODEL_FILE, TOKENIZER_FILE, CHECKS_FILE)

# A manifest is a few kilobytes; one of a megabyte is not one.
MAX_MANIFEST_BYTES = 1 << 20

# What a graph's weights and arithmetic are; `edgeqa models quantise --list` explains them. A name
# of a later version is refused: its graph may hold operators that this version does not run.
Precision = Literal["fp32", "fp16", "int8", "int8-block", "int4-block"]

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileEntry(_Part):
    """One file of the package."""

    sha256: Sha256
    bytes: int = Field(gt=0, le=8 << 30)


class Architecture(_Part):
    """What the weights are."""

    type: Literal["bert", "distilbert"]
    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    heads: int = Field(gt=0)
    vocabulary: int = Field(gt=0)
    parameters: int = Field(gt=0)


class Sizes(_Part):
    """Window and answer sizes, in tokens, that the model is served with."""

    max_seq_len: int = Field(ge=32, le=4096)
    doc_stride: int = Field(ge=0, le=2048)
    max_question_tokens: int = Field(ge=8, le=1024)
    max_answer_tokens: int = Field(ge=1, le=512)

    @model_validator(mode="after")
    def _windows_advance(self) -> Sizes:
        # Three special tokens stand in each window; what is left after the longest question must
        # exceed the overlap, or windows would never reach the end of a text.
        if self.max_seq_len - self.max_question_tokens - 3 <= self.doc_stride:
            raise ValueError(
                "max_seq_len leaves no room to advance: it must exceed max_question_tokens + "
                "doc_stride + 3"
            )
        return self


class DataSource(_Part):
    """A data set that the weights learned from, or were measured on."""

    name: str
    licence: str
    questions: int = Field(ge=0)


class Training(_Part):
    """Where the weights come from."""

    base: str
    base_licence: str
    data: list[DataSource]
    recipe: dict[str, str | int | float]


class Measured(_Part):
    """SQuAD scores, in percent, of one precision of this model."""

    dataset: str
    fingerprint: str = Field(description="sha256 of the data file.")
    precision: str
    questions: int = Field(gt=0)
    exact_match: float = Field(ge=0, le=100)
    f1: float = Field(ge=0, le=100)


class Baseline(_Part):
    """Latency of one question, in milliseconds, on a named machine."""

    machine: str
    threads: int = Field(gt=0)
    questions: int = Field(gt=0)
    p50_ms: float = Field(gt=0)
    p95_ms: float = Field(gt=0)


class Manifest(_Part):
    """What a package is, says of itself, and consists of.

    Attributes:
        cards: of every variant that was measured; packages before 0.2 have none.
        forced: there if quality was lost beyond the margin and a person wanted it nevertheless.
    """

    schema_version: Literal[1] = Field(alias="schema")
    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    architecture: Architecture
    precision: Precision
    sizes: Sizes
    files: dict[FileName, FileEntry]
    licence: str
    training: Training
    scores: list[Measured]
    baseline: Baseline | None = None
    cards: list[ScoreCard] = []
    forced: Forced | None = None

    @model_validator(mode="after")
    def _complete(self) -> Manifest:
        missing = [name for name in REQUIRED_FILES if name not in self.files]
        if missing:
            raise ValueError(f"files: {', '.join(missing)} not listed")
        if MANIFEST_FILE in self.files:
            raise ValueError(f"files: {MANIFEST_FILE} cannot list itself")
        packaged = [(card.variant, card.model_sha256) for card in self.cards if card.packaged]
        if self.cards and packaged != [(self.precision, self.files[MODEL_FILE].sha256)]:
            raise ValueError(f"cards: not exactly one is that of the packaged {MODEL_FILE}")
        return self


class Check(_Part):
    """A question that proves that a loaded model answers as it did when it was packaged."""

    question: str
    context: str
    answers: list[str] = Field(min_length=1, description="Accepted answers.")


@dataclass(frozen=True, slots=True)
class Package:
    """A verified package on disk."""

    path: Path
    manifest: Manifest
    digest: str

    @property
    def ref(self) -> ModelRef:
        """How answers name this package."""
        return ModelRef(name=self.manifest.name, version=self.manifest.version, digest=self.digest)

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.path / name

    def checks(self) -> list[Check]:
        """Its check questions.

        Raises:
            ModelLoadError: the file is not a list of checks.
        """
        return [
            Check(question=check.question, context=check.context, answers=check.answers)
            for check in self.plain().checks()
        ]

    def plain(self) -> PlainPackage:
        """What a process without this module must know of it."""
        manifest = self.manifest
        return PlainPackage(
            folder=str(self.path),
            title=f"{manifest.name} {manifest.version}",
            vocabulary=manifest.architecture.vocabulary,
            sizes=PlainSizes(**manifest.sizes.model_dump()),
            files=[
                PlainFile(name, entry.sha256, entry.bytes) for name, entry in manifest.files.items()
            ],
        )


def open_package(path: Path) -> Package:
    """Read and verify a package: the manifest's form, then every file's length and SHA-256.

    Raises:
        ModelLoadError: no folder, no manifest, or one that is malformed (`package_malformed`).
        VerificationError: a file is missing or is not what the manifest says (`digest_mismatch`).
    """
    manifest_path = path / MANIFEST_FILE
    try:
        with manifest_path.open("rb") as file:
            raw = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ModelLoadError(
            f"{path} is not a model package: {MANIFEST_FILE}: {error.strerror}",
            code="package_malformed",
        ) from error
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ModelLoadError(
            f"{manifest_path}: larger than {MAX_MANIFEST_BYTES} bytes", code="package_malformed"
        )
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise ModelLoadError(
            f"{manifest_path}: {where}: {first['msg']}", code="package_malformed"
        ) from error
    for name, entry in manifest.files.items():
        verify_file(path / name, sha256=entry.sha256, size=entry.bytes)
    return Package(path, manifest, f"sha256:{hashlib.sha256(raw).hexdigest()}")
