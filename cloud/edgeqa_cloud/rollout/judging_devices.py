"""Shares of the devices themselves: all of them are counted, so the shares are exact."""

from __future__ import annotations

from edgeqa_cloud.rollout.model import Evidence, GateResult, Tally
from edgeqa_cloud.rollout.spec import ShareGate
from edgeqa_cloud.rollout.states import GateStatus


def judge_failed(limits: ShareGate, evidence: Evidence) -> GateResult:
    """Devices that did not take the new model, or left it."""
    return _judge(
        "failed_swaps",
        limits,
        evidence,
        [tally.failed for tally in (evidence.stage_tally, evidence.rollout_tally)],
        "failed to take the new model, or left it",
    )


def judge_silent(limits: ShareGate, evidence: Evidence) -> GateResult:
    """Devices that were there when they got the wish, and fell silent."""
    return _judge(
        "silent_devices",
        limits,
        evidence,
        [tally.silent for tally in (evidence.stage_tally, evidence.rollout_tally)],
        "fell silent since their wish",
    )


def _judge(
    gate: str, limits: ShareGate, evidence: Evidence, counts: list[int], said: str
) -> GateResult:
    """The stage's devices, or all so far, whichever is worse: early devices may fail late."""
    tallies: list[tuple[str, Tally]] = [
        ("this stage's", evidence.stage_tally),
        ("all", evidence.rollout_tally),
    ]
    found = [
        (count / tally.size, count, tally.size, whose)
        for (whose, tally), count in zip(tallies, counts, strict=True)
        if tally.wished
    ]
    if not found:
        return GateResult(
            gate,
            GateStatus.NO_DATA,
            "no device got a wish so far",
            limit=limits.max_share,
            unit="share",
            of="devices",
            required=False,
        )
    share, count, size, whose = max(found, key=lambda one: one[0])
    return GateResult(
        gate,
        GateStatus.BREACHED if share > limits.max_share else GateStatus.PASSED,
        f"{count:,} of {whose} {size:,} devices {said} ({share:.1%}); at most "
        f"{limits.max_share:.1%} allowed",
        value=share,
        limit=limits.max_share,
        unit="share",
        samples=size,
        of="devices",
    )
