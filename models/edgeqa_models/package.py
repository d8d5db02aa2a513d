"""Package: a draft of any variant, its evidence and its check questions become a package.

The same inputs give the same bytes: no times, no names of this machine but those in the reports.
What cannot be proven is refused: files that were exchanged, an operator that some device lacks,
scores of other bytes, a loss of quality by quantisation beyond the margins (unless a person forces
it, which the manifest then says), a check question that the model does not answer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import onnx
from pydantic import ValidationError

from edgeqa.errors import ConfigError, DataError, GateError, ModelLoadError
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
from edgeqa.reader.engine import Engine
from edgeqa.reader.proof import prove
from edgeqa.scores import Forced
from edgeqa_models.checks import run_checks
from edgeqa_models.draft import Draft, read_draft
from edgeqa_models.evidence import Evidence, Margins, demand_evidence, demand_quality
from edgeqa_models.folders import new_folder
from edgeqa_models.portable import demand_portable

NO_MORE_THAN_PROMISED = Margins()
_LISTED = 5  # check questions that an error message names


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
    margins: Margins = NO_MORE_THAN_PROMISED,
    force: str | None = None,
) -> Package:
    """Assemble `output`/`name`-`version`.

    Args:
        draft: of `export` or `quantise`.
        output: folder in which the package is made.
        label: name, version and licence.
        training: where the weights come from.
        evidence: reports of `evaluate`.
        checks: questions that travel with the package.
        margins: what may be lost to fp32.
        force: a person's reason to package what lost more; recorded in the manifest.

    Raises:
        ModelLoadError: `draft` is not a draft or does not load everywhere.
        DataError: `report_mismatch`, a report is of other bytes or other questions.
        GateError: `quality_lost`, or `checks_failed` with the questions that failed.
        UsageError: `force` is not a reason.
        ConfigError: the package exists already, its name is not one, or the disk is full.
    """
    description = read_draft(draft)
    _demand_sealed(draft, description)
    demand_evidence(sha256_hex(draft / MODEL_FILE), description, evidence)
    forced = demand_quality(evidence, margins, force)
    _demand_portable(draft / MODEL_FILE)
    files = {name: (draft / name).read_bytes() for name in (MODEL_FILE, TOKENIZER_FILE)}
    files[CHECKS_FILE] = _json([check.model_dump() for check in checks])
    manifest = _manifest(
        files=files,
        draft=description,
        label=label,
        training=training,
        evidence=evidence,
        forced=forced,
    )
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


def _demand_sealed(draft: Path, description: Draft) -> None:
    quantised = description.precision != "fp32"
    if not description.files or (quantised and description.source_sha256 is None):
        raise ModelLoadError(
            f"{draft}: made by an earlier version, which does not say what belongs together; make "
            "it again",
            code="draft_malformed",
        )


def _demand_portable(path: Path) -> None:
    try:
        graph = onnx.load(path)
    except Exception as error:
        raise ModelLoadError(f"{path}: not an ONNX graph") from error
    demand_portable(graph)


def _demand_checks(engine: Engine, checks: list[Check]) -> None:
    missed = [result for result in run_checks(engine, checks) if not result.right]
    if missed:
        listed = "; ".join(f"{r.check.question!r} -> {r.answer!r}" for r in missed[:_LISTED])
        more = f"; and {len(missed) - _LISTED} more" if len(missed) > _LISTED else ""
        hint = (
            ". So many wrong answers mean an untrained or foreign head, exchanged outputs or "
            "another model's tokenizer"
            if len(missed) > len(checks) / 2
            else ""
        )
        raise GateError(
            f"{len(missed)} of {len(checks)} check questions are not answered: {listed}{more}"
            f"{hint}",
            code="checks_failed",
        )


def _manifest(
    *,
    files: dict[str, bytes],
    draft: Draft,
    label: Label,
    training: Training,
    evidence: Evidence,
    forced: Forced | None,
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
            cards=evidence.cards(),
            forced=forced,
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
