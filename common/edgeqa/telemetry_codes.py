"""Error codes of telemetry: outbox, self-evaluation and the cloud; part of the table in `codes`."""

from __future__ import annotations

from edgeqa.error_code import Code, Where

_Q, _C, _W = Where.QUARANTINE, Where.COMMAND, Where.SWAP

TELEMETRY_CODES: tuple[Code, ...] = (
    Code("device_mismatch", _Q, "The payload names another device than its topic.",
         "Check that device: two may share an id, or one pretends to be another."),
    Code("impossible_time", _Q, "The record's time cannot be true and nothing tells the right one.",
         "Set the device's clock; then `edgeqa cloud quarantine retry`."),
)  # fmt: skip
