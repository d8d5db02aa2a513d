"""Memory and temperature of the devices before and after the change.

These are readings, not samples of something larger: they are compared as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edgeqa_cloud.rollout.model import DeviceServed, GateResult
from edgeqa_cloud.rollout.spec import MemoryGate, TemperatureGate
from edgeqa_cloud.rollout.states import GateStatus

_MEBI = 2**20
# Of the devices' highest temperatures; of fewer than 20 devices, the highest. One broken fan among
# hundreds of devices is not the model's fault.
_HOT_SHARE = 0.95


def judge_memory(limits: MemoryGate, served: Iterable[DeviceServed]) -> GateResult:
    """Mean resident memory of the devices of which both are known."""
    both = [
        (one.before.resident_bytes, one.after.resident_bytes)
        for one in served
        if one.before and one.after and one.before.resident_bytes and one.after.resident_bytes
    ]
    if not both:
        return GateResult(
            "memory",
            GateStatus.NO_DATA,
            "memory: no device told it both before and after the change",
            limit=limits.max_ratio,
            unit="ratio",
            of="devices",
            required=limits.required,
        )
    then, now = _mean([one for one, _ in both]), _mean([one for _, one in both])
    ratio = now / then
    return GateResult(
        "memory",
        GateStatus.BREACHED if ratio > limits.max_ratio else GateStatus.PASSED,
        f"resident memory went from {then / _MEBI:,.0f} to {now / _MEBI:,.0f} MiB, {ratio:.2f} "
        f"times, on {_devices(both)}; at most {limits.max_ratio:g} times allowed",
        value=ratio, limit=limits.max_ratio, unit="ratio", before=then, after=now,
        samples=len(both), of="devices", required=limits.required,
    )  # fmt: skip


def judge_temperature(limits: TemperatureGate, served: Iterable[DeviceServed]) -> GateResult:
    """How much hotter the devices are, and whether they are too hot that were not before."""
    known = [one for one in served if one.after and one.after.temperature_celsius is not None]
    too_hot = _too_hot(limits, known)
    if too_hot is not None and too_hot.status is GateStatus.BREACHED:
        return too_hot
    rise = _rise(limits, known)
    found = rise or too_hot
    if found is not None:
        return found
    return GateResult(
        "temperature",
        GateStatus.NO_DATA,
        "temperature: no device told it both before and after the change",
        limit=limits.max_rise_celsius,
        unit="celsius",
        of="devices",
        required=limits.required,
    )


def _too_hot(limits: TemperatureGate, known: Sequence[DeviceServed]) -> GateResult | None:
    most = limits.max_celsius
    if most is None or not known:
        return None
    # One that was too hot before is not made so by the new model.
    heats = sorted(
        one.after.temperature_celsius
        for one in known
        if one.after is not None
        and one.after.temperature_celsius is not None
        and not (
            one.before is not None
            and one.before.temperature_celsius is not None
            and one.before.temperature_celsius > most
        )
    )
    if not heats:
        return None
    hot = heats[math.ceil(_HOT_SHARE * len(heats)) - 1]
    return GateResult(
        "temperature",
        GateStatus.BREACHED if hot > most else GateStatus.PASSED,
        f"the hottest reach {hot:.1f} °C, of {_devices(heats)} that were cooler than {most:g} °C "
        f"before; at most {most:g} °C allowed",
        value=hot, limit=most, unit="celsius", after=hot, samples=len(heats), of="devices",
        required=limits.required,
    )  # fmt: skip


def _rise(limits: TemperatureGate, known: Sequence[DeviceServed]) -> GateResult | None:
    most = limits.max_rise_celsius
    pairs = [pair for one in known if (pair := _pair(one)) is not None]
    if most is None or not pairs:
        return None
    then, now = _mean([one for one, _ in pairs]), _mean([one for _, one in pairs])
    return GateResult(
        "temperature",
        GateStatus.BREACHED if now - then > most else GateStatus.PASSED,
        f"temperature went from {then:.1f} to {now:.1f} °C, by {now - then:+.1f}, on "
        f"{_devices(pairs)}; at most {most:+g} °C allowed",
        value=now - then, limit=most, unit="celsius", before=then, after=now, samples=len(pairs),
        of="devices", required=limits.required,
    )  # fmt: skip


def _pair(one: DeviceServed) -> tuple[float, float] | None:
    """Means where both are known, else both highest: never one against the other."""
    before, after = one.before, one.after
    if before is None or after is None:
        return None
    for then, now in (
        (before.temperature_mean_celsius, after.temperature_mean_celsius),
        (before.temperature_celsius, after.temperature_celsius),
    ):
        if then is not None and now is not None:
            return then, now
    return None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _devices(some: Sequence[object]) -> str:
    return f"{len(some):,} device{'s' * (len(some) != 1)}"
