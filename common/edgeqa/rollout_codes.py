"""Error codes of rollouts, targets, packages and the API; part of the table in `codes`."""

from __future__ import annotations

from edgeqa.error_code import Code, Where

_A = Where.API

ROLLOUT_CODES: tuple[Code, ...] = (
    Code("unknown_rollout", _A, "There is no such rollout.",
         "Check the id: `edgeqa rollout list` shows all."),
    Code("changed_meanwhile", _A, "The rollout changed since it was looked at.",
         "Look at it again, then order again."),
    Code("order_refused", _A, "The order makes no sense in the state that the rollout is in.",
         "The message says what would."),
    Code("too_many_orders", _A, "A hundred orders of a rollout wait for an engine.",
         "Start one: `edgeqa cloud run`; see its log if one runs.", retry=True),
    Code("too_many_alike", _A, "A thousand rollouts of exactly the same were made today.",
         "Say another note."),
    Code("bad_query", _A, "A query over devices says nothing that can be looked for.",
         "The message names the place and what belongs there; docs/targets.md has examples."),
    Code("unknown_devices", _A, "A target names devices that the cloud has never heard of.",
         "Check the names in the message: `edgeqa fleet list` shows all."),
    Code("bad_tags", _A, "A tag is no name, or a device would have too many.",
         "The message says which; 1 to 64 letters, digits, '.', '_' or '-' make a tag."),
    Code("repository_unread", _A, "No model repository is configured, or it was never read.",
         "Set `repository` and `repository_root` of `edgeqa cloud run`; the message says why it "
         "cannot be read."),
    Code("empty_target", _A, "No device matches the target.",
         "Name other devices, groups or tags, or a wider query: `edgeqa fleet list` shows all."),
    Code("stage_outside_target", _A, "A stage names devices that the target does not mean.",
         "Add them to the target, or take them out of the stage."),
    Code("overlapping_stages", _A, "A stage ends before an earlier one, or takes what a later one "
         "names.", "Sizes are cumulative: let them grow."),
    Code("impossible_gates", _A, "A gate could never be decided.",
         "The message says which, and what to change."),
    Code("impossible_rollout", _A, "A rollout cannot be made as it is ordered.",
         "The message says why."),
)  # fmt: skip
