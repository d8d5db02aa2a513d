"""What is wrong with a rollout, beyond what its fields say one by one. Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence

from edgeqa.errors import UsageError
from edgeqa_cloud.rollout.spec import RolloutSpec
from edgeqa_cloud.words import said

# More names than that help nobody to find their mistake.
_MOST_NAMED = 10


class RolloutError(UsageError):
    """A rollout that cannot be made as it is ordered; `code` says why."""

    code = "impossible_rollout"


def check_gates(spec: RolloutSpec) -> None:
    """See that each gate can be decided.

    Raises:
        RolloutError: `impossible_gates`.
    """
    gates = spec.gates
    heat = gates.temperature
    if heat is not None and heat.max_rise_celsius is None and heat.max_celsius is None:
        raise RolloutError(
            "gate temperature has no limit: set max_rise_celsius or max_celsius, or switch the "
            "gate off (null)",
            code="impossible_gates",
        )
    needed = [
        name
        for name in type(gates).model_fields
        if getattr(getattr(gates, name), "required", False)
    ]
    for number, stage in enumerate(spec.stages, 1):
        if needed and not stage.soak_s and not spec.evidence_s:
            raise RolloutError(
                f"{', '.join(needed)} must be shown to hold, which takes the devices some time, "
                f"and stage {number} gives them none: raise its soak_s or evidence_s, or set "
                "the gates' `required` to false",
                code="impossible_gates",
            )


def check_named(spec: RolloutSpec, devices: Container[str]) -> None:
    """See that stages name none but devices of the target.

    Raises:
        RolloutError: `stage_outside_target`.
    """
    for number, stage in enumerate(spec.stages, 1):
        strange = [name for name in stage.devices or () if name not in devices]
        if strange:
            more = len(strange) - _MOST_NAMED
            raise RolloutError(
                f"stage {number} names {', '.join(map(said, strange[:_MOST_NAMED]))}"
                + (f" and {more:,} more" if more > 0 else "")
                + ", which the target does not mean: add them to the target, or take them out of "
                "the stage",
                code="stage_outside_target",
            )


def check_sizes(spec: RolloutSpec, asked: Sequence[int], *, devices: int) -> None:
    """See that no stage ends before an earlier one, or takes what a later one names.

    Args:
        spec: as ordered.
        asked: how many devices each stage and those before it would have.
        devices: that match the target.

    Raises:
        RolloutError: `overlapping_stages`.
    """
    named_later = sum(len(stage.devices or ()) for stage in spec.stages)
    last = 0
    for number, (stage, end) in enumerate(zip(spec.stages, asked, strict=True), 1):
        named_later -= len(stage.devices or ())
        if end < last:
            raise RolloutError(
                f"stages overlap: stage {number} ends at {end:,} of the {devices:,} devices, where "
                f"an earlier one ended at {last:,} already; sizes are cumulative",
                code="overlapping_stages",
            )
        if stage.devices is None and end + named_later > devices:
            raise RolloutError(
                f"stages overlap: stage {number} takes {end:,} of the {devices:,} devices, and "
                f"later ones name {named_later:,} of them",
                code="overlapping_stages",
            )
        last = end
