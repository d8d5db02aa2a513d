"""What `compare` sets side by side: packages and drafts to be measured, and finished reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeqa.errors import DataError, UsageError
from edgeqa.manifest import MANIFEST_FILE, open_package
from edgeqa_models.draft import Measurable, open_measurable
from edgeqa_models.peak_memory import peak_memory
from edgeqa_models.report import Report, read_report
from edgeqa_models.sample import Sample

_Questions = tuple[str, str, int, float | None]  # fingerprint, name, how many, null threshold


@dataclass(frozen=True, slots=True)
class Contender:
    """One model of a comparison.

    Attributes:
        label: what tables and plots call it; no two are the same.
        path: as it was named.
        report: of an earlier evaluation, or None for a model that is to be measured.
    """

    label: str
    path: Path
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A contender that is to be measured, loaded."""

    label: str
    model: Measurable
    peak_memory_bytes: int


def find_contenders(paths: Sequence[Path]) -> list[Contender]:
    """Tell packages, drafts and reports apart and name them.

    Raises:
        UsageError: fewer than two, or one twice.
        DataError: a file that is no report, or one of a stopped evaluation.
        ModelLoadError, VerificationError: a package that is none.
    """
    if len(paths) < 2:  # noqa: PLR2004  what a comparison is
        raise UsageError("a comparison needs two models or more")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("one model is named twice")
    found = [_contender(path) for path in paths]
    times = Counter(one.label for one in found)
    return [one if times[one.label] == 1 else replace(one, label=str(one.path)) for one in found]


def demand_same_questions(
    contenders: Sequence[Contender], sample: Sample | None, null_threshold: float | None = None
) -> None:
    """Refuse reports of other questions, or another null threshold, than the rest.

    Args:
        contenders: of which some have reports.
        sample: the questions that the others are asked; None if all have reports.
        null_threshold: that the others are scored with.

    Raises:
        DataError: `report_mismatch`, naming both data sets.
    """
    reports = [(one.path, one.report) for one in contenders if one.report is not None]
    if not reports:
        return
    if sample is None:
        wanted = _questions_of(reports[0][1])
    else:
        wanted = (sample.fingerprint, sample.dataset, len(sample.examples), null_threshold)
    for path, report in reports:
        if _questions_of(report) != wanted:
            raise DataError(
                f"{path}: made with {_described(_questions_of(report))}, the others with "
                f"{_described(wanted)}; evaluate again with the same options",
                code="report_mismatch",
            )


def load(contender: Contender, sample: Sample, *, threads: int) -> Loaded:
    """Load a package or draft and measure its memory.

    Raises:
        ModelLoadError, VerificationError: it does not load.
    """
    model = open_measurable(contender.path, threads=threads)
    memory = peak_memory(contender.path, sample.examples, threads=threads)
    return Loaded(contender.label, model, memory)


def _contender(path: Path) -> Contender:
    if path.is_dir():
        if not (path / MANIFEST_FILE).exists():
            return Contender(path.resolve().name, path)
        manifest = open_package(path).manifest
        return Contender(f"{manifest.name} {manifest.version}", path)
    report = read_report(path)
    if not (report.complete and report.questions and report.seconds):
        raise DataError(
            f"{path}: of an evaluation that was stopped or never began; evaluate the model again",
            code="report_mismatch",
        )
    return Contender(path.stem, path, report)


def _questions_of(report: Report) -> _Questions:
    return report.fingerprint, report.dataset, report.questions, report.null_threshold


def _described(questions: _Questions) -> str:
    fingerprint, dataset, count, threshold = questions
    scored = "" if threshold is None else f", null threshold {threshold:.4g}"
    return f"{count} questions of {dataset} ({fingerprint[:8]}{scored})"
