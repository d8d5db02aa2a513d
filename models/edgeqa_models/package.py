"""Package: an int8 (or fp32) draft, its evidence and its check questions become a package.

The same inputs give the same bytes: no times, no names of this machine but those in the reports.
What cannot be proven is refused: scores of other bytes, a loss of F1 by quantisation beyond the
bound, a check question that the model does not answer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgeqa.errors import ConfigError, DataError, GateError
from edgeqa.files import sha256_hex, write_atomic
from edgeqa.manifest import (
    CHECKS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Check,
    FileEntry,
    Manifest,
    Package,
    Training,
    open_package,
)
from edgeqa.reader.engine import Engine, prove
from edgeqa_models.checks import run_checks
from edgeqa_models.draft import Draft, read_draft
from edgeqa_models.folders import new_folder
from edgeqa_models.report import Report

MAX_F1_LOSS = 0.5  # of int8 against fp32, in points; what the project promises


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured.

    Attributes:
        own: evaluation of the draft that is packaged.
        fp32: evaluation of the fp32 draft that it was quantised from, on the same questions.
        baseline: evaluation that the baseline latency is taken from.
    """

    own: Report
    fp32: Report
    baseline: Report


@dataclass(frozen=True, slots=True)
class Label:
    """What people call the package and may do with it."""

    name: str
    version: str
    licence: str


def package(
    *,
    draft: Path,
    output: Path,
    label: Label,
    training: Training,
    evidence: Evidence,
    checks: list[Check],
    max_f1_loss: float = MAX_F1_LOSS,
) -> Package:
    """Assemble `output`/`name`-`version`.

    Raises:
        ModelLoadError: `draft` is not a draft or does not load.
        DataError: `report_mismatch`, a report is of other bytes or other questions.
        GateError: `quality_lost`, or `checks_failed` with the questions that failed.
        ConfigError: the package exists already, its name is not one, or the disk is full.
    """
    description = read_draft(draft)
    _demand_evidence(sha256_hex(draft / MODEL_FILE), description, evidence)
    _demand_quality(evidence, max_f1_loss)
    files = {name: (draft / name).read_bytes() for name in (MODEL_FILE, TOKENIZER_FILE)}
    files[CHECKS_FILE] = _json([check.model_dump() for check in checks])
    manifest = _manifest(files, description, label, training, evidence)
    target = output / f"{label.name}-{label.version}"
    with new_folder(target) as folder:
        for name, content in files.items():
            write_atomic(folder / name, content)
        write_atomic(folder / MANIFEST_FILE, manifest)
        made = open_package(folder)
        engine = Engine.load(made, threads=1)
        _demand_checks(engine, checks)
        prove(engine, made)
    return Package(target, made.manifest, made.digest)


def read_training(path: Path) -> Training:
    """Read where the weights come from: a JSON file in the form of the manifest's `training`.

    Raises:
        DataError: it cannot be read or is malformed.
    """
    try:
        return Training.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise DataError(f"{path}: {_first(error)}") from error


def _demand_evidence(digest: str, draft: Draft, evidence: Evidence) -> None:
    own, fp32 = evidence.own, evidence.fp32
    wrong = None
    if own.model_sha256 != digest:
        wrong = "the report of the draft was made with another model.onnx"
    elif own.precision != draft.precision or fp32.precision != "fp32":
        wrong = (
            f"reports of {draft.precision} and fp32 are needed, not of {own.precision} and "
            f"{fp32.precision}"
        )
    elif _questions(own) != _questions(fp32):
        wrong = "the two reports are of different questions"
    elif not (own.complete and fp32.complete):
        wrong = "a report is of an evaluation that was stopped"
    if wrong:
        raise DataError(f"{wrong}; evaluate both drafts again", code="report_mismatch")


def _questions(report: Report) -> tuple[str, str, int]:
    return report.fingerprint, report.dataset, report.questions


def _demand_quality(evidence: Evidence, max_f1_loss: float) -> None:
    loss = evidence.fp32.f1 - evidence.own.f1
    if loss > max_f1_loss:
        raise GateError(
            f"F1 {evidence.own.f1:.2f} is {loss:.2f} below the {evidence.fp32.f1:.2f} of fp32; "
            f"at most {max_f1_loss:.2f} may be lost",
            code="quality_lost",
        )


def _demand_checks(engine: Engine, checks: list[Check]) -> None:
    missed = [result for result in run_checks(engine, checks) if not result.right]
    if missed:
        listed = "; ".join(f"{r.check.question!r} -> {r.answer!r}" for r in missed)
        raise GateError(
            f"{len(missed)} of {len(checks)} check questions are not answered: {listed}",
            code="checks_failed",
        )


def _manifest(
    files: dict[str, bytes],
    draft: Draft,
    label: Label,
    training: Training,
    evidence: Evidence,
) -> bytes:
    reports = {report.precision: report for report in (evidence.fp32, evidence.own)}
    try:
        manifest = Manifest(
            schema=1,
            name=label.name,
            version=label.version,
            architecture=draft.architecture,
            precision=draft.precision,
            sizes=draft.sizes,
            files={name: _entry(content) for name, content in files.items()},
            licence=label.licence,
            training=training,
            scores=[report.measured() for report in reports.values()],
            baseline=evidence.baseline.baseline(),
        )
    except ValidationError as error:
        raise ConfigError(f"the package cannot be described: {_first(error)}") from error
    return _json(manifest.model_dump(by_alias=True))


def _entry(content: bytes) -> FileEntry:
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
