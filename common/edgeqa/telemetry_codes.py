"""Error codes of telemetry: outbox, self-evaluation and the cloud; part of the table in `codes`."""

from __future__ import annotations

from edgeqa.error_code import Code, Where

_Q, _C, _W = Where.QUARANTINE, Where.COMMAND, Where.SWAP

TELEMETRY_CODES: tuple[Code, ...] = (
    Code("device_mismatch", _Q, "The payload names another device than its topic.",
         "Check that device: two may share an id, or one pretends to be another."),
    Code("impossible_time", _Q, "The record's time cannot be true and nothing tells the right one.",
         "Set the device's clock; then `edgeqa cloud quarantine retry`."),
    Code("cannot_listen", _C, "The address for metrics cannot be listened on.",
         "Name another with `metrics_listen`, or end what listens there."),
    Code("no_database", _C, "There is no cloud database where it was looked for.",
         "Name it with `--database`, or start a collector: `edgeqa cloud run`."),
    Code("old_database", _C, "The cloud database has not the tables of this version.",
         "Run `edgeqa cloud migrate`."),
    Code("unknown_device", _C, "The cloud has never heard of the device.",
         "Check the name: `edgeqa fleet` lists all."),
)  # fmt: skip
