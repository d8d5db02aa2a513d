"""What a package may claim: only what reports of its own bytes and its own source say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.reports import make_report

from edgeqa.errors import EdgeqaError, GateError
from edgeqa.files import sha256_hex
from edgeqa.manifest import Check, open_package
from edgeqa_models.describe import describe
from edgeqa_models.draft import open_measurable
from edgeqa_models.evidence import Evidence, Margins
from edgeqa_models.package import package
from edgeqa_models.report import Report


def report(precision: str, draft: Path, **changes: Any) -> Report:
    return make_report(precision, sha256_hex(draft / "model.onnx"), **changes)


def refused(inputs: dict[str, Any], output: Path, **changes: Any) -> EdgeqaError:
    with pytest.raises(EdgeqaError) as caught:
        package(output=output, **{**inputs, **changes})
    assert "\n" not in str(caught.value)
    assert not output.exists() or list(output.iterdir()) == []
    return caught.value


def worse(evidence: Evidence, **scores: float) -> Evidence:
    return replace(evidence, own=evidence.own.model_copy(update=scores))


@pytest.mark.parametrize(
    ("scores", "margins"),
    [({"f1": 79.4}, Margins(f1=0.7)), ({"exact_match": 68.9}, Margins(exact_match=1.2))],
)
def test_a_loss_beyond_the_margin_is_refused(
    inputs: dict[str, Any], tmp_path: Path, scores: dict[str, float], margins: Margins
) -> None:
    evidence = worse(inputs["evidence"], **scores)
    error = refused(inputs, tmp_path, evidence=evidence)
    assert isinstance(error, GateError)
    assert error.code == "quality_lost"
    assert ("F1" in str(error)) == ("f1" in scores)
    made = package(output=tmp_path, **{**inputs, "evidence": evidence, "margins": margins})
    assert made.manifest.forced is None


def test_a_forced_package_says_so_and_why(inputs: dict[str, Any], tmp_path: Path) -> None:
    evidence = worse(inputs["evidence"], f1=78.0, exact_match=68.5)
    made = package(output=tmp_path, **{**inputs, "evidence": evidence, "force": " a drill "})
    forced = open_package(made.path).manifest.forced
    assert forced is not None
    assert (forced.reason, forced.f1_lost, forced.exact_match_lost) == ("a drill", 2.0, 1.5)
    assert (forced.max_f1_loss, forced.max_exact_match_loss) == (0.5, 1.0)
    assert open_measurable(made.path, threads=1).forced == forced
    lines = list(describe(open_package(made.path)))
    assert any(line.startswith("FORCED") and "a drill" in line for line in lines)


def test_force_is_not_recorded_where_nothing_had_to_be_forced(
    inputs: dict[str, Any], tmp_path: Path
) -> None:
    plain = package(output=tmp_path / "a", **inputs)
    forced = package(output=tmp_path / "b", **{**inputs, "force": "to be sure"})
    assert forced.digest == plain.digest


@pytest.mark.parametrize("reason", ["", "  ", "x" * 301, "two\nlines", "\x1b[2Jx"])
def test_force_wants_a_reason_on_one_line(
    inputs: dict[str, Any], tmp_path: Path, reason: str
) -> None:
    error = refused(inputs, tmp_path, force=reason, evidence=worse(inputs["evidence"], f1=70.0))
    assert error.code == "usage"


def test_force_forces_no_wrong_answers_and_no_foreign_reports(
    inputs: dict[str, Any], tmp_path: Path
) -> None:
    wrong = Check(question="what pump ?", context="the pump starts", answers=["nothing of it"])
    error = refused(inputs, tmp_path, force="please", checks=[*inputs["checks"], wrong])
    assert error.code == "checks_failed"
    other = worse(inputs["evidence"])
    other = replace(other, own=other.own.model_copy(update={"model_sha256": "1" * 64}))
    assert refused(inputs, tmp_path, force="please", evidence=other).code == "report_mismatch"


def test_the_manifest_has_a_card_of_every_measured_variant(
    inputs: dict[str, Any], fp32: Path, tmp_path: Path
) -> None:
    block = report("int8-block", fp32).model_copy(update={"model_sha256": "2" * 64})
    evidence = replace(inputs["evidence"], others=(block,))
    made = package(output=tmp_path, **{**inputs, "evidence": evidence})
    cards = open_package(made.path).manifest.cards
    assert [(card.variant, card.packaged) for card in cards] == [
        ("fp32", False),
        ("int8-block", False),
        ("int8", True),
    ]
    own = cards[-1]
    assert own.model_sha256 == sha256_hex(made.path / "model.onnx")
    assert (own.f1, own.f1_interval, own.p95_ms) == (79.6, (74.6, 84.6), 2.5)
    assert (own.peak_memory_bytes, own.machine, own.threads) == (100_000_000, "test", 1)
    table = list(describe(made))
    assert any(line.split()[:3] == ["int8", "*", "70.00"] for line in table)
    assert len({len(line.split()) for line in table if line.startswith(("fp32", "int8-b"))}) == 1


def test_an_fp32_package_has_one_card(inputs: dict[str, Any], fp32: Path, tmp_path: Path) -> None:
    engine = open_measurable(fp32, threads=1).engine
    checks = [
        check.model_copy(
            update={"answers": [engine.answer(check.question, check.context).spans[0].text]}
        )
        for check in inputs["checks"]
    ]
    own = report("fp32", fp32)
    made = package(
        output=tmp_path,
        **{**inputs, "draft": fp32, "checks": checks, "evidence": Evidence(own, own, own)},
    )
    assert [(card.variant, card.packaged) for card in made.manifest.cards] == [("fp32", True)]


def test_two_reports_of_one_variant_and_another_source_are_no_evidence(
    inputs: dict[str, Any], fp32: Path, tmp_path: Path
) -> None:
    evidence = inputs["evidence"]
    foreign = evidence.fp32.model_copy(update={"model_sha256": "3" * 64})
    later = report("int8-block", fp32).model_copy(update={"questions": 23})
    for changed in (
        replace(evidence, others=(evidence.own,)),
        replace(evidence, others=(evidence.fp32,)),
        replace(evidence, others=(later,)),
        replace(evidence, fp32=foreign),
    ):
        assert refused(inputs, tmp_path, evidence=changed).code == "report_mismatch"


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "1" * 64},
        {"precision": "fp32"},
        {"fingerprint": "1" * 64},
        {"dataset": "other"},
        {"questions": 23},
        {"complete": False},
        {"task": "squad_v2"},
    ],
)
def test_reports_of_something_else_are_no_evidence(
    inputs: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    evidence = inputs["evidence"]
    other = replace(evidence, own=evidence.own.model_copy(update=change))
    assert refused(inputs, tmp_path, evidence=other).code == "report_mismatch"
