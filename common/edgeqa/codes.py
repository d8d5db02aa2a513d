"""Every error code of EdgeQA: what it means and what to do. Generates docs/errors.md.

Codes are part of the public contract: they may be added, never renamed or given another meaning.
"""

from __future__ import annotations

import sys

from edgeqa.error_code import Code, Where
from edgeqa.errors import ExitCode
from edgeqa.identity_codes import IDENTITY_CODES
from edgeqa.install_codes import INSTALL_CODES
from edgeqa.rollout_codes import ROLLOUT_CODES
from edgeqa.swap_codes import SWAP_CODES
from edgeqa.telemetry_codes import TELEMETRY_CODES

_A, _C, _S = Where.ANSWER, Where.CLIENT, Where.COMMAND

CODES: tuple[Code, ...] = (
    Code("not_utf8", _A, "The payload is not UTF-8.", "Encode it as UTF-8."),
    Code("not_json", _A, "The payload is not JSON.", "Send a JSON object."),
    Code("unsupported_schema", _A, "The agent does not speak this `schema`.", "Send `1`."),
    Code("invalid_payload", _A, "A field is missing, of a wrong type or out of bounds.",
         "The message names the field; see docs/asyncapi.yaml."),
    Code("empty_question", _A, "The question holds no words.", "Ask something."),
    Code("empty_context", _A, "The context holds no words.",
         "Send a text; to delete a stored one, publish an empty payload to its topic."),
    Code("question_too_long", _A, "The question is longer than the model takes.",
         "Shorten it to the number of tokens in the message."),
    Code("context_too_long", _A, "The text is longer than the agent takes.",
         "Send the part that matters, or raise the agent's setting."),
    Code("unknown_context", _A, "No text is stored under this `context_id`.",
         "Store it first (`edgeqa context put`), or check the name."),
    Code("payload_too_large", _A, "The message is larger than the agent takes.",
         "Store long texts as contexts, send smaller batches, or raise the agent's setting."),
    Code("batch_too_large", _A, "The batch holds more questions than the agent takes.",
         "Split it."),
    Code("invalid_response_topic", _A, "The agent may not answer to this Response Topic.",
         "Name a topic without wildcards, outside EdgeQA's own or ending in `/answers`."),
    Code("expired", _A, "The deadline passed before the model began.",
         "Ask again, allow more time, or ask a group.", retry=True),
    Code("busy", _A, "The agent's queue is full.", "Ask again later, or ask a group.",
         retry=True),
    Code("inference_failed", _A, "The model failed on this question.",
         "See the agent's log; report it with the question."),
    Code("model_crashed", _A, "The model's process ended, and again when it was asked anew.",
         "See the agent's log; the agent has restarted the model.", retry=True),
    Code("stopping", _A, "The agent is shutting down.", "Ask again, or ask a group.",
         retry=True),
    Code("contexts_full", _A, "The device has no room for another stored text.",
         "Delete some (`edgeqa context delete`), or raise the agent's setting."),
    Code("timeout", _C, "Nothing came in time.",
         "The message says whether the device is online; allow more time or check the agent.",
         retry=True),
    Code("no_agent", _C, "No agent listens on the topic.",
         "Check the name, and that the agent runs and is connected to the same broker.",
         retry=True),
    Code("too_many_pending", _C, "The client waits for too many answers.",
         "Wait for some, or raise `max_pending`.", retry=True),
    Code("client_stopped", _C, "The client was stopped while the question waited.",
         "Keep the client open until the answers are there.", retry=True),
    Code("not_started", _C, "The client is not connected.",
         "Use it in a `with` block, or call `start`."),
    Code("invalid_answer", _C, "The answer does not follow the contract.",
         "Check that the agent's version speaks the same schema."),
    Code("publish_refused", _C, "The broker refused a publication.",
         "Check the broker's access rules and quotas."),
    Code("refused", _C, "The question was refused.", "The message says why."),
    Code("queue_full", _C, "Too many publications wait for the broker.",
         "Check the connection; publish more slowly.", retry=True),
    Code("packet_too_large", _C, "The message is larger than the broker takes.",
         "Store long texts as contexts, send smaller batches, or raise the broker's limit."),
    Code("broker_unreachable", _S, "The broker cannot be reached or refuses the connection.",
         "Check address, credentials, certificates and access rules.", retry=True),
    Code("usage", _S, "The command was called in a way that makes no sense.",
         "See its `--help`."),
    Code("invalid_config", _S, "A setting is missing, unknown or out of bounds.",
         "The message names the setting and where its value came from."),
    Code("extra_missing", _S, "The command's libraries are not installed here.",
         "Run the `pip install` of the message."),
    Code("invalid_data", _S, "A data set cannot be read, is empty or contradicts itself.",
         "The message names the file."),
    Code("verification_failed", _S, "Bytes are not what their manifest says.",
         "Fetch the package again from its source."),
    Code("package_malformed", _S, "A package's manifest is missing or not valid.",
         "Build the package with `edgeqa models package`."),
    Code("digest_mismatch", _S, "A file of a package is missing or was changed.",
         "Fetch the package again."),
    Code("model_load_failed", _S, "A model does not load.", "The message says why."),
    Code("model_start_timeout", _S, "A model was not loaded in time.",
         "Raise the agent's setting, or use a smaller model."),
    Code("model_given_up", _S, "A model that loads keeps dying.",
         "See the agent's log: often the memory is too small."),
    Code("unhealthy", _S, "The agent is not able to answer.", "The message says why."),
    Code("not_a_reader", _S, "A checkpoint has no question-answering head.",
         "Run `edgeqa models finetune` first."),
    Code("unsupported_architecture", _S, "A checkpoint is neither BERT nor DistilBERT.",
         "Use one that is."),
    Code("tokenizer_mismatch", _S, "A tokenizer is another model's, or contradicts itself.",
         "Take the tokenizer files that were published with the weights."),
    Code("model_too_large", _S, "A graph would be larger than an ONNX file can be.",
         "Use a smaller model."),
    Code("fusion_failed", _S, "The attention of an exported graph was not fused.",
         "Use a plain BERT or DistilBERT with absolute positions."),
    Code("unsupported_operator", _S, "A graph holds what some devices do not load.",
         "The message names it; make the draft with this version of edgeqa."),
    Code("not_recoverable", _S, "A package's graph does not show its weights.",
         "Recover from an fp32 or int8 package that this workshop made."),
    Code("draft_malformed", _S, "A folder is not what `export` or `quantise` made.",
         "Make it again."),
    Code("parity_failed", _S, "An exported model does not answer as its source.",
         "Do not use it; report it with the figures in the message."),
    Code("loss_weights", _S, "The weights of the distillation losses are no shares of 1.",
         "Give weights of at least 0 that sum to 1."),
    Code("student_layers", _S, "The student would have no layer, or more than its teacher.",
         "Give `--layers` between 1 and the teacher's number."),
    Code("student_mismatch", _S, "The earlier student has other layers or another teacher.",
         "Name one that `distil` gave for the same teacher and `--layers`."),
    Code("run_differs", _S, "The run folder holds a run with other options.",
         "Name another `--output`, or delete the folder."),
    Code("no_gpu", _S, "A GPU was asked for and torch sees none.",
         "Leave `--device` out, or install a CUDA build of torch."),
    Code("report_mismatch", _S, "A report is not of this model or these data.",
         "Evaluate both drafts again."),
    Code("quality_lost", _S, "Quantising lost more than is allowed.",
         "See the figures in the message."),
    Code("output_exists", _S, "The folder to write exists already.", "Delete it or name another."),
    Code("output_unwritable", _S, "The folder to write cannot be written.",
         "The message says why."),
    Code("demo_failed", _S, "The demonstration could not run.", "The message says why."),
    Code("model_interface", _S, "A model's inputs or outputs are not those of a reader.",
         "Export it with `edgeqa models export`."),
    Code("checks_failed", _S, "A model does not give the answers of its check questions.",
         "Do not use the package; build it again."),
    Code("gate_failed", _S, "A model is sound but not good enough.",
         "See the figures in the message."),
    Code("repository_missing", _S, "A folder is no model repository.",
         "Check the path, or make one: `edgeqa models repository init`."),
    Code("repository_locked", _S, "Another command writes to the repository.",
         "Try again when it is done.", retry=True),
    Code("repository_damaged", _S, "A repository's metadata are missing, malformed or forged.",
         "Do not publish; bring the named file back from a copy."),
    Code("repository_mismatch", _S, "The keys belong to another repository.",
         "Check both paths; if they are right, somebody exchanged the repository."),
    Code("repository_rolled_back", _S, "A repository is older than its keys have seen it.",
         "Find out who did it; after restoring a backup: `repository sign --restored`."),
    Code("repository_full", _S, "A repository's list is as long as devices take.",
         "Withdraw old packages: `edgeqa models repository remove`."),
    Code("version_published", _S, "A version was published with other bytes.",
         "Package it under a new version."),
    Code("package_unknown", _S, "A package is not in the repository.",
         "See `edgeqa models repository status`."),
    Code("metadata_expired", _S, "Signed metadata have expired or soon will.",
         "Run `edgeqa models repository sign` with a key of the named role."),
    Code("signature_missing", _S, "Metadata wait for signatures.",
         "Have the named keys sign: `edgeqa models repository sign`."),
    Code("staged_waiting", _S, "A new root waits for signatures already.",
         "Sign it, or delete the named file."),
    Code("staged_others", _S, "Other changes are staged than those to be published.",
         "Read them and sign them (`repository sign`), or delete the named file."),
    Code("staged_stale", _S, "What is staged was overtaken by what is published.",
         "Delete the named file and stage it again."),
    Code("clock_behind", _S, "The time to sign at is before the last signature.",
         "Set the clock, or `--now` and SOURCE_DATE_EPOCH."),
    Code("key_missing", _S, "A private key that is needed is not in its folder.",
         "The message says which, and where it belongs."),
    Code("key_exposed", _S, "Others than its owner can read a private key.",
         "chmod 600; if others did read it, rotate it."),
    Code("key_damaged", _S, "A file is not a key, or not of the kind that it must be.",
         "Bring it back from its copy."),
    Code("key_not_in_role", _S, "A key is not one of the role's.",
         "See `edgeqa models repository status`."),
    Code("keys_in_repository", _S, "A key folder lies in the repository, which is public.",
         "Keep keys elsewhere."),
    Code("passphrase_missing", _S, "The keys need a passphrase and there is none.",
         "Name a file that holds it, as the message says, or run the command in a terminal."),
    Code("passphrase_weak", _S, "A new passphrase is too short.", "Take a longer one."),
    Code("passphrase_wrong", _S, "A passphrase does not open a key.",
         "All keys of a folder have one passphrase; check which."),
    Code("state_locked", _S, "Another agent uses the state folder.",
         "Give each agent its own, or end the other one."),
    Code("store_unusable", _S, "The agent cannot work with its state folder.",
         "Name a folder that it may write to, or free some room."),
    Code("internal_error", _S, "A bug.", "Report it with the log."),
    *IDENTITY_CODES,
    *INSTALL_CODES,
    *SWAP_CODES,
    *TELEMETRY_CODES,
    *ROLLOUT_CODES,
)  # fmt: skip


# Reasons for which a model that is sound does not serve, or no longer; a gate's and a shadow's too.
_NOT_GOOD_ENOUGH = frozenset({"checks_failed", "gate_failed", "rolled_back", "model_keeps_dying"})


def exit_code_of(slug: str) -> ExitCode:
    """How a command ends that was answered with this code."""
    code = next((code for code in CODES if code.slug == slug), None)
    if code is not None and code.where is Where.SWAP:
        return exit_code_of_swap(slug)
    return ExitCode.UNREACHABLE if code is not None and code.retry else ExitCode.USAGE


def exit_code_of_swap(slug: str) -> ExitCode:
    """How a command ends whose wish, or order, a device refused for this reason, of any table."""
    if any(code.retry for code in CODES if code.slug == slug):
        return ExitCode.UNREACHABLE
    if slug in _NOT_GOOD_ENOUGH or slug.startswith(("gate_", "shadow_")):
        return ExitCode.GATE
    return ExitCode.REFUSED


def document() -> str:
    """docs/errors.md."""
    lines = [
        "# Error codes",
        "",
        "Generated by `python -m edgeqa.codes > docs/errors.md`.",
        "",
        "Codes are stable; messages are for people and may change. *Retry*: the same request may",
        "succeed later, unchanged.",
    ]
    for where in Where:
        lines += [
            "",
            f"## {where.value[0].upper()}{where.value[1:]}",
            "",
            "| code | meaning | what to do | retry |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{c.slug}` | {c.meaning} | {c.action} | {'yes' if c.retry else 'no'} |"
            for c in CODES
            if c.where is where
        ]
    lines += [
        "",
        "## Exit codes of commands",
        "",
        "| code | meaning | restart? |",
        "|---|---|---|",
        "| 0 | done, or a clean stop | no |",
        "| 1 | a bug | yes |",
        "| 2 | wrong usage, or a question that was refused and would be again | no |",
        "| 3 | a wrong setting | no |",
        "| 4 | broker or agent unreachable or busy, or no answer in time | yes |",
        "| 5 | a package was refused, or a device refused a wish or a command | no |",
        "| 6 | a model is not good enough, or was rolled back | no |",
        "| 130 | interrupted with Ctrl-C | no |",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
