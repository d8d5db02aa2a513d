"""Error codes of model swaps and commands; part of the table in `codes`."""

from __future__ import annotations

from edgeqa.error_code import Code, Where

_W = Where.SWAP

SWAP_CODES: tuple[Code, ...] = (
    Code("repository_not_set", _W, "The wished package is not on the device, which has no "
         "repository to fetch it from.",
         "Set the agent's `repository` and `repository_root`."),
    Code("repository_unreachable", _W, "The model repository does not answer. The device goes on "
         "trying.", "Check the agent's `repository` and the network.", retry=True),
    Code("repository_expired", _W, "The repository's signatures have expired, or the device's "
         "clock is wrong. The device goes on trying.",
         "Run `edgeqa models repository sign`; check the device's clock.", retry=True),
    Code("metadata_refused", _W, "The repository's metadata are not signed by trusted keys, "
         "contradict each other, or are older than what the device has seen.",
         "Treat as an attack until explained; check `edgeqa models repository status --verify`."),
    Code("unknown_package", _W, "The repository does not offer the wished package.",
         "Check name and version, or publish it."),
    Code("package_unsupported", _W, "The package is of a newer schema, or of an architecture or "
         "precision that this agent does not serve.",
         "Update the agent, or wish for another package."),
    Code("package_too_large", _W, "The package is larger than the device takes.",
         "Wish for a smaller package, or raise the agent's limit."),
    Code("wrong_digest", _W, "The repository's package is not the one of the wish's digest.",
         "Correct the wish, or publish the package that was meant."),
    Code("download_corrupt", _W, "A downloaded file is not what the signed metadata say.",
         "Check the web server and what lies between: `repository status --verify`."),
    Code("disk_full", _W, "The device has not enough room for the package.",
         "Run `edgeqa prune`, or free some room on the device."),
    Code("store_failed", _W, "The device cannot write to its state folder.",
         "See the agent's log; check the folder's rights and the disk."),
    Code("not_enough_memory", _W, "The model would not fit into the device's memory beside the "
         "one that serves.", "Wish for a smaller model or precision, or free some memory."),
    Code("gate_accuracy", _W, "The model answers its check questions worse than the gate allows.",
         "Wish for another model, or correct the gate."),
    Code("gate_latency", _W, "The model takes longer for its check questions than the gate allows.",
         "Wish for a smaller model, or correct the gate."),
    Code("gate_memory", _W, "The loaded model takes more memory than the gate allows.",
         "Wish for a smaller model, or correct the gate."),
    Code("shadow_disagrees", _W, "In the shadow the model's answers differ too much from those of "
         "the active one.", "Look at both models' answers before you lower `min_agreement`."),
    Code("shadow_slow", _W, "In the shadow the model was too slow beside the active one.",
         "Wish for a smaller model, or raise `max_latency_ratio`."),
    Code("shadow_timeout", _W, "Too few questions came in the shadow's time.",
         "Ask for fewer questions or a larger fraction, or allow more time."),
    Code("superseded", _W, "A newer wish came.", "Nothing; see the newer wish's report."),
    Code("withdrawn", _W, "The wish was taken back.",
         "Make it again if it is still meant."),
    Code("agent_stopped", _W, "The agent stopped during the swap.",
         "Nothing: it goes on at its next start."),
    Code("model_keeps_dying", _W, "The model died too often and was given up for another.",
         "See the agent's log; wish for another model."),
    Code("rolled_back", _W, "A command took the device back to its previous model.",
         "Nothing; a newer wish is followed again."),
    Code("nothing_to_roll_back", _W, "The device has no previous model.",
         "Wish for the model that it shall have."),
    Code("unknown_command", _W, "The agent does not know this verb.",
         "Check the topic; the agent may be older than the client."),
    Code("command_replayed", _W, "The command is retained, or its number is not higher than that "
         "of the last one.", "Send it anew, with a higher number."),
    Code("command_expired", _W, "The command's time is over, or the device's clock is wrong.",
         "Send it anew; check the clocks."),
    Code("swap_failed", _W, "The swap did not succeed.", "The message says why."),
)  # fmt: skip
