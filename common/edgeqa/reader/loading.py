"""The files of a model, loaded and checked: the tokenizer, and the graph as a session."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort
from tokenizers import Tokenizer

from edgeqa.errors import ModelLoadError
from edgeqa.reader.weights import Weights
from edgeqa.reader.windows import CONTEXT, QUESTION

KNOWN_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
OUTPUTS = ["start_logits", "end_logits"]


def load_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """A tokenizer for a model that knows so many tokens.

    Raises:
        ModelLoadError: it is none, gives tokens that the model does not know, or does not build
            pairs as a reader needs them.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise ModelLoadError(f"{path}: not a tokenizer: {error}") from error
    if tokenizer.get_vocab_size() > vocabulary:
        raise ModelLoadError(
            f"{path}: {tokenizer.get_vocab_size()} tokens, but the model knows {vocabulary}"
        )
    order = [part for part, _ in itertools.groupby(tokenizer.encode("a", "b").sequence_ids)]
    if order != [None, QUESTION, None, CONTEXT, None]:
        raise ModelLoadError(f"{path}: does not build [CLS] question [SEP] context [SEP]")
    return tokenizer


def check_token_types(tokenizer: Tokenizer, path: str) -> None:
    """A model that was trained with token types and gets none only answers worse.

    Raises:
        ModelLoadError: the tokenizer gives question and context the same type.
    """
    probe = tokenizer.encode("a", "b")
    pairs = zip(probe.sequence_ids, probe.type_ids, strict=True)
    if any(part is not None and part != kind for part, kind in pairs):
        raise ModelLoadError(
            f"{path}: gives question and context the token types {probe.type_ids}; the model wants "
            "0 and 1"
        )


@functools.cache
def _share_buffers() -> None:
    """Let all sessions of this process take their buffers from one arena, once.

    They run largely in turns: a session of its own would keep as much again as it ever needed.
    """
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, None)


def load_session(
    path: Path, threads: int, *, weights: Weights | None = None
) -> ort.InferenceSession:
    """An ONNX graph, for inferences with so many threads.

    Args:
        path: of the file.
        threads: of one inference.
        weights: of the same file, for the session to read instead of a copy of its own.

    Raises:
        ModelLoadError: onnxruntime refuses it; `model_interface`: it is no extractive reader.
    """
    _share_buffers()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A thread that spins for work takes the core from whoever brings the work; without spinning
    # the broker's benchmark gave clearly more questions per second on two busy cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    # A plan of buffers is kept for each length of window that ever came, and gains no time here.
    options.enable_mem_pattern = False
    if weights is not None:
        weights.give_to(options)
    options.log_severity_level = 3  # errors; warnings of the optimiser help nobody in production
    try:
        session = ort.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ModelLoadError(f"{path}: onnxruntime refuses it: {error}") from error
    _check_interface(session, str(path))
    return session


def _check_interface(session: ort.InferenceSession, path: str) -> None:
    inputs = {node.name for node in session.get_inputs()}
    outputs: Sequence[str] = [node.name for node in session.get_outputs()]
    if "input_ids" not in inputs or not inputs <= KNOWN_INPUTS or set(outputs) != set(OUTPUTS):
        raise ModelLoadError(
            f"{path}: inputs {sorted(inputs)} and outputs {sorted(outputs)} are not those of an "
            f"extractive reader ({sorted(KNOWN_INPUTS)} to {OUTPUTS})",
            code="model_interface",
        )
