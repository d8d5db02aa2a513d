"""What a model process must know of a package, as plain data, and whether its files are that.

The agent's main process has the manifest, parsed and checked. Its library of data models would take
a model process some 17 MiB and a tenth of a second; this needs none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeqa.errors import ModelLoadError, VerificationError
from edgeqa.files import sha256_hex

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
CHECKS_FILE = "checks.json"

MAX_CHECKS_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class PlainFile:
    """A file of the package, as its manifest says it is."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class PlainSizes:
    """As `manifest.Sizes`."""

    max_seq_len: int
    doc_stride: int
    max_question_tokens: int
    max_answer_tokens: int


@dataclass(frozen=True, slots=True)
class PlainCheck:
    """As `manifest.Check`."""

    question: str
    context: str
    answers: list[str]


@dataclass(frozen=True, slots=True)
class PlainPackage:
    """A package whose manifest was checked; `verify` before any of its files is used."""

    folder: str
    title: str
    vocabulary: int
    sizes: PlainSizes
    files: list[PlainFile]

    @classmethod
    def decode(cls, text: str) -> PlainPackage:
        """From what `encode` made."""
        fields = json.loads(text)
        fields["sizes"] = PlainSizes(**fields["sizes"])
        fields["files"] = [PlainFile(**file) for file in fields["files"]]
        return cls(**fields)

    def encode(self) -> str:
        """As text for another process."""
        return json.dumps(asdict(self))

    def verify(self) -> None:
        """Check length and SHA-256 of every file.

        Raises:
            VerificationError: as `verify_file`.
        """
        for file in self.files:
            verify_file(self.file(file.name), sha256=file.sha256, size=file.bytes)

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return Path(self.folder) / name

    def checks(self) -> list[PlainCheck]:
        """Its check questions.

        Raises:
            ModelLoadError: the file is not a list of checks.
        """
        path = self.file(CHECKS_FILE)
        try:
            if path.stat().st_size > MAX_CHECKS_BYTES:
                raise ModelLoadError(f"{path}: larger than {MAX_CHECKS_BYTES} bytes")
            checks = [_check(row) for row in json.loads(path.read_bytes())]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelLoadError(f"{path}: not a list of checks: {error}") from error
        if not checks:
            raise ModelLoadError(f"{path}: holds no checks")
        return checks


def verify_file(path: Path, *, sha256: str, size: int) -> None:
    """Check that a file has the length and the digest that a manifest gives it.

    Raises:
        VerificationError: it is missing or another (`digest_mismatch`).
    """
    try:
        if path.is_symlink() or not path.is_file():
            raise VerificationError(f"{path}: missing or not a plain file", code="digest_mismatch")
        found = path.stat().st_size
        if found != size:
            raise VerificationError(
                f"{path}: {found} bytes where the manifest says {size}; fetch the package again",
                code="digest_mismatch",
            )
        if sha256_hex(path) != sha256:
            raise VerificationError(
                f"{path}: its SHA-256 is not the manifest's; fetch the package again",
                code="digest_mismatch",
            )
    except OSError as error:
        raise VerificationError(
            f"{path}: cannot be read: {error.strerror}", code="digest_mismatch"
        ) from error


def _check(row: dict[str, object]) -> PlainCheck:
    question, context, answers = row["question"], row["context"], row["answers"]
    if not (
        isinstance(question, str)
        and isinstance(context, str)
        and isinstance(answers, list)
        and answers
        and all(isinstance(answer, str) for answer in answers)
    ):
        raise ValueError("a check is a question, a context and at least one answer")
    return PlainCheck(question, context, answers)
