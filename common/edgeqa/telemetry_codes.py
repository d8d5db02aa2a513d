"""Error codes of telemetry: outbox, self-evaluation and the cloud; part of the table in `codes`."""

from __future__ import annotations

from edgeqa.error_code import Code, Where

_Q, _C, _W = Where.QUARANTINE, Where.COMMAND, Where.SWAP

TELEMETRY_CODES: tuple[Code, ...] = (
    Code("device_mismatch", _Q, "The payload names another device than its topic.",
         "Check that device: two may share an id, or one pretends to be another."),
    Code("impossible_time", _Q, "The record's time cannot be true and nothing tells the right one.",
         "Set the device's clock; then `edgeqa cloud quarantine retry`."),
    Code("unknown_topic", _Q, "The topic is none of a device that is collected.",
         "Check who publishes there; a device's id is 1 to 64 letters, digits, `.`, `_` and `-`."),
    Code("not_storable", _Q, "The database refused what the message says.",
         "The reason is the database's; report it with the message."),
    Code("database_unreachable", _C, "The cloud's database cannot be reached or used.",
         "The message says why; check the URL, the server, and the rights to file and folder.",
         retry=True),
    Code("database_newer", _C, "A later version of EdgeQA has migrated the database.",
         "Install that version."),
    Code("cannot_listen", _C, "The address for metrics cannot be listened on.",
         "Name another with `metrics_listen`, or end what listens there."),
    Code("no_database", _C, "There is no cloud database where it was looked for.",
         "Name it with `--database`, or start a collector: `edgeqa cloud run`."),
    Code("unknown_device", _C, "The cloud has never heard of the device.",
         "Check the name: `edgeqa fleet` lists all."),
    Code("datasets_missing", _C, "A data set is of a kind that takes the library `datasets`.",
         "pip install 'edgeqa[evaluation]', or name a SQuAD JSON file."),
    Code("evaluation_running", _W, "The device evaluates itself already.",
         "Wait for its result; it comes as an evaluation.", retry=True),
    Code("evaluation_off", _W, "Self-evaluation is switched off on the device.",
         "Set the agent's `evaluation_data` to something else than `off`."),
    Code("evaluation_ended", _W, "A self-evaluation came to nothing.", "The message says why."),
    Code("evaluation_superseded", _W, "Another model took the place of the one that was evaluated.",
         "None: the new one is evaluated on the same questions."),
    Code("evaluation_timeout", _W, "Too few questions could be asked in the time it had.",
         "The device is busy or hot: raise `evaluation_timeout_s`, or lower the load."),
    Code("unknown_slice", _W, "The evaluation set has no such slice.",
         "The message says how many there are; they count from 0."),
    Code("outbox_failed", _W, "The device's outbox cannot be read or written.",
         "See the agent's log: a full or read-only disk, most often.", retry=True),
    Code("outbox_damaged", _W, "The device's outbox was damaged; it was set aside and a fresh one "
         "begun.", "Check the device's disk; what had not been sent is lost.", retry=True),
    Code("record_too_large", _W, "A record is larger than the outbox takes.",
         "Report it with the agent's log."),
)  # fmt: skip
