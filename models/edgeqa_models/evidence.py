"""The evidence that a package is good: reports of its variant and of those beside it.

What a variant may lose to fp32 is bounded in F1 and in EM: F1 alone would let pass what moves the
ends of many answers by a word. The difference of two variants on the same questions scatters more
in EM than in F1 (1.4 to 1.5 times, measured on 1,000 questions of the default model), hence the
wider margin; docs/models.md says how many questions such a comparison needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from edgeqa.errors import DataError, GateError, UsageError
from edgeqa.scores import Forced, ScoreCard
from edgeqa_models.draft import Draft
from edgeqa_models.report import Report

# In points; what the project promises of its int8.
MAX_F1_LOSS = 0.5
MAX_EXACT_MATCH_LOSS = 1.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured, all on the same questions.

    Attributes:
        own: evaluation of the draft that is packaged.
        fp32: evaluation of the fp32 draft that it was quantised from.
        baseline: evaluation that the baseline latency is taken from, on whatever questions.
        others: evaluations of further variants, for their score cards.
    """

    own: Report
    fp32: Report
    baseline: Report
    others: tuple[Report, ...] = ()

    def reports(self) -> list[Report]:
        """One of each variant: fp32, the others, the packaged one."""
        own = [] if self.own.precision == self.fp32.precision else [self.own]
        return [self.fp32, *self.others, *own]

    def cards(self) -> list[ScoreCard]:
        """The score cards, for a manifest."""
        return [_card(one, packaged=one.precision == self.own.precision) for one in self.reports()]


@dataclass(frozen=True, slots=True)
class Margins:
    """Points that a variant may lose to fp32."""

    f1: float = MAX_F1_LOSS
    exact_match: float = MAX_EXACT_MATCH_LOSS


def demand_evidence(digest: str, draft: Draft, evidence: Evidence) -> None:
    """Refuse reports that are not of this draft, its source and the same questions.

    Args:
        digest: SHA-256 of the draft's graph.
        draft: what its `draft.json` says.
        evidence: the reports.

    Raises:
        DataError: `report_mismatch`.
    """
    own, fp32 = evidence.own, evidence.fp32
    names = [report.precision for report in evidence.reports()]
    wrong = None
    if own.model_sha256 != digest:
        wrong = "the report of the draft was made with another model.onnx"
    elif own.precision != draft.precision or fp32.precision != "fp32":
        wrong = (
            f"reports of {draft.precision} and fp32 are needed, not of {own.precision} and "
            f"{fp32.precision}"
        )
    elif fp32.model_sha256 != (draft.source_sha256 or digest):
        wrong = "the fp32 report is not of the draft that this one was quantised from"
    elif len(set(names)) < len(names):
        wrong = f"there are two reports of one variant ({', '.join(names)})"
    elif any(_questions(one) != _questions(own) for one in evidence.reports()):
        wrong = "the reports are of different questions"
    elif not all(one.complete for one in evidence.reports()):
        wrong = "a report is of an evaluation that was stopped"
    if wrong:
        raise DataError(f"{wrong}; evaluate the drafts again", code="report_mismatch")


def demand_quality(evidence: Evidence, margins: Margins, force: str | None) -> Forced | None:
    """Refuse a variant that loses more to fp32 than it may, unless a person forces it.

    Args:
        evidence: the reports.
        margins: what may be lost.
        force: reason of the person; None if nobody forces.

    Returns:
        What was forced, for the manifest; None where nothing had to be.

    Raises:
        GateError: `quality_lost`.
        UsageError: the reason is empty, too long or not one line.
    """
    own, fp32 = evidence.own, evidence.fp32
    f1, exact = fp32.f1 - own.f1, fp32.exact_match - own.exact_match
    lost = []
    if f1 > margins.f1:
        lost.append(_loss("F1", own.f1, fp32.f1, margins.f1))
    if exact > margins.exact_match:
        lost.append(_loss("EM", own.exact_match, fp32.exact_match, margins.exact_match))
    if force is None and lost:
        raise GateError("; ".join(lost), code="quality_lost")
    if force is None:
        return None
    try:
        forced = Forced(
            reason=force,
            exact_match_lost=round(exact, 2),
            f1_lost=round(f1, 2),
            max_exact_match_loss=margins.exact_match,
            max_f1_loss=margins.f1,
        )
    except ValidationError as error:
        raise UsageError(
            "--force wants a reason: one line of 1 to 300 characters that says why the loss is "
            "acceptable"
        ) from error
    return forced if lost else None


def _questions(report: Report) -> tuple[str, str, str, int]:
    return report.fingerprint, report.dataset, report.task, report.questions


def _loss(name: str, own: float, fp32: float, most: float) -> str:
    return (
        f"{name} {own:.2f} is {fp32 - own:.2f} below the {fp32:.2f} of fp32; at most {most:.2f} "
        "may be lost"
    )


def _card(report: Report, *, packaged: bool) -> ScoreCard:
    low, high = report.exact_match_interval
    f1_low, f1_high = report.f1_interval
    return ScoreCard(
        variant=report.precision,
        packaged=packaged,
        model_sha256=report.model_sha256,
        model_bytes=report.model_bytes,
        dataset=report.dataset,
        fingerprint=report.fingerprint,
        task=report.task,
        questions=report.questions,
        exact_match=round(report.exact_match, 2),
        exact_match_interval=(round(low, 2), round(high, 2)),
        f1=round(report.f1, 2),
        f1_interval=(round(f1_low, 2), round(f1_high, 2)),
        questions_per_s=round(report.questions_per_s, 2),
        p50_ms=round(report.p50_ms, 2),
        p95_ms=round(report.p95_ms, 2),
        peak_memory_bytes=report.peak_memory_bytes,
        machine=report.machine,
        threads=report.threads,
    )
