"""Whether gates hold, by what the devices measured. Pure."""

from __future__ import annotations

from edgeqa_cloud.rollout.judging_accuracy import judge_accuracy
from edgeqa_cloud.rollout.judging_devices import judge_failed, judge_silent
from edgeqa_cloud.rollout.judging_serving import judge_errors, judge_latency
from edgeqa_cloud.rollout.judging_vitals import judge_memory, judge_temperature
from edgeqa_cloud.rollout.model import Evidence, GateResult
from edgeqa_cloud.rollout.spec import RolloutGates


def judge(gates: RolloutGates, evidence: Evidence) -> list[GateResult]:
    """One result for each gate that is on, in the order of the fields.

    Args:
        gates: what must hold.
        evidence: of the current stage and those before it.
    """
    paired, served = evidence.paired, evidence.served
    found = []
    if gates.exact_match is not None:
        found.append(judge_accuracy("exact_match", gates.exact_match, paired))
    if gates.f1 is not None:
        found.append(judge_accuracy("f1", gates.f1, paired))
    if gates.p95_latency is not None:
        found.append(judge_latency(gates.p95_latency, served))
    if gates.error_rate is not None:
        found.append(judge_errors(gates.error_rate, served))
    if gates.memory is not None:
        found.append(judge_memory(gates.memory, served))
    if gates.temperature is not None:
        found.append(judge_temperature(gates.temperature, served))
    if gates.failed_swaps is not None:
        found.append(judge_failed(gates.failed_swaps, evidence))
    if gates.silent_devices is not None:
        found.append(judge_silent(gates.silent_devices, evidence))
    return found
