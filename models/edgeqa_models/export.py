"""Export: a fine-tuned Hugging Face reader becomes an fp32 draft.

The draft's graph is checked against torch before it is written (`edgeqa_models.parity`), and its
tokenizer is written as plain `tokenizer.json`, without the truncation and padding that a training
run leaves in it: window sizes are the package's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from edgeqa.errors import ModelLoadError
from edgeqa.files import write_atomic
from edgeqa.manifest import MODEL_FILE, TOKENIZER_FILE, Architecture
from edgeqa_models.checkpoint import ReaderCheckpoint, load_reader
from edgeqa_models.diagnosis import explain
from edgeqa_models.draft import SERVED, Draft, write_draft
from edgeqa_models.folders import new_folder
from edgeqa_models.graph import demand_fused, demand_room, fuse, trace
from edgeqa_models.lean import replace_slow
from edgeqa_models.parity import TOLERANCE, Parity, Progress, demand_parity, measure_parity
from edgeqa_models.portable import demand_portable, operators


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made."""

    architecture: Architecture
    bytes: int
    operators: dict[str, int]
    parity: Parity


def export(
    *,
    checkpoint: str,
    output: Path,
    questions: Sequence[tuple[str, str]],
    tolerance: float = TOLERANCE,
    on_progress: Progress | None = None,
) -> Exported:
    """Write the draft of a checkpoint.

    Args:
        checkpoint: folder or hub id of a BERT or DistilBERT fine-tuned for question answering.
        output: folder to make.
        questions: (question, context) pairs that the parity check compares.
        tolerance: largest difference of a logit from torch.
        on_progress: told the windows compared and to compare.

    Raises:
        ModelLoadError: the checkpoint is not a reader that can be exported.
        GateError: `parity_failed`.
        ConfigError: `output` exists or cannot be written.
    """
    reader = load_reader(checkpoint)
    room = reader.model.config.max_position_embeddings
    if room < SERVED.max_seq_len:
        raise ModelLoadError(
            f"{checkpoint} reads {room} tokens at most; packages are served with windows of "
            f"{SERVED.max_seq_len}"
        )
    demand_room(reader.architecture)
    with new_folder(output) as folder:
        graph = fuse(trace(reader), reader)
        demand_fused(graph, reader)
        graph = replace_slow(graph)
        demand_portable(graph)
        content = graph.SerializeToString(deterministic=True)
        parity = measure_parity(content, reader, questions, SERVED, on_progress)
        demand_parity(
            parity,
            tolerance=tolerance,
            explain=lambda: explain(content, reader, questions, SERVED),
        )
        write_atomic(folder / MODEL_FILE, content)
        write_atomic(folder / TOKENIZER_FILE, plain_tokenizer(reader).encode())
        write_draft(folder, Draft(architecture=reader.architecture, precision="fp32"))
    return Exported(reader.architecture, len(content), operators(graph), parity)


def plain_tokenizer(reader: ReaderCheckpoint) -> str:
    """The tokenizer as `tokenizer.json`, stateless."""
    tokenizer = Tokenizer.from_str(reader.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return str(tokenizer.to_str(pretty=False))
