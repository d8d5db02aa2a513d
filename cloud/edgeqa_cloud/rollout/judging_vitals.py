"""Memory and temperature of the devices before and after the change.

These are readings, not samples of something larger: they are compared as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edgeqa_cloud.rollout.model import DeviceServed, GateResult, Served
from edgeqa_cloud.rollout.spec import MemoryGate, TemperatureGate
from edgeqa_cloud.rollout.states import GateStatus

_MEBI = 2**20
# What a record may say (`Telemetry`), and no sum of it overflows.
_COLDEST, _HOTTEST = -100.0, 250.0
_MOST_BYTES = 2.0**53
# Of the devices' highest temperatures; of fewer than 20 devices, the highest. One broken fan among
# hundreds of devices is not the model's fault.
_HOT_SHARE = 0.95


def judge_memory(limits: MemoryGate, served: Iterable[DeviceServed]) -> GateResult:
    """Mean resident memory of the devices of which both are known."""
    both = [
        (then, now)
        for one in served
        if (then := _resident(one.before)) is not None and (now := _resident(one.after)) is not None
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
    known = [one for one in served if _highest(one.after) is not None]
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
        heat
        for one in known
        if (heat := _highest(one.after)) is not None and (_highest(one.before) or 0) <= most
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
    for of in (_average, _highest):
        then, now = of(one.before), of(one.after)
        if then is not None and now is not None:
            return then, now
    return None


def _resident(served: Served | None) -> float | None:
    value = None if served is None else served.resident_bytes
    return value if value is not None and 1 <= value <= _MOST_BYTES else None


def _highest(served: Served | None) -> float | None:
    return _heat(None if served is None else served.temperature_celsius)


def _average(served: Served | None) -> float | None:
    return _heat(None if served is None else served.temperature_mean_celsius)


def _heat(value: float | None) -> float | None:
    """A temperature that the contract allows; not-a-number is none."""
    return value if value is not None and _COLDEST <= value <= _HOTTEST else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _devices(some: Sequence[object]) -> str:
    return f"{len(some):,} device{'s' * (len(some) != 1)}"
