"""What the peers that use transformers' pipeline share: how it is asked, and what is kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peers.workers.protocol import (
    DOC_STRIDE,
    MAX_ANSWER_TOKENS,
    MAX_QUESTION_TOKENS,
    MAX_SEQ_LEN,
)

# That the pipeline goes with transformers 5 does not concern a version that is pinned.
warnings.filterwarnings("ignore", category=FutureWarning)


class PipelineReader:
    """A question-answering pipeline, one question after the other."""

    def __init__(
        self, pipeline: Any, *, padding: str, packages: Sequence[str], settings: str
    ) -> None:
        self.settings = settings
        self.packages = packages
        self._pipeline = pipeline
        self._padding = padding
        self._windows = 0
        self._read = pipeline._forward  # noqa: SLF001  # the one step that sees each window
        pipeline._forward = self._count  # noqa: SLF001

    def answer(self, question: str, context: str) -> tuple[str, int]:
        """One question."""
        self._windows = 0
        answer = self._pipeline(
            question=question,
            context=context,
            padding=self._padding,
            max_answer_len=MAX_ANSWER_TOKENS,
            max_seq_len=MAX_SEQ_LEN,
            doc_stride=DOC_STRIDE,
            max_question_len=MAX_QUESTION_TOKENS,
        )
        return str(answer["answer"]), self._windows

    def at_once(self, count: int) -> None:
        """Raises: ValueError: its tokenizer cannot be used by several threads."""
        if count != 1:
            raise ValueError("the pipeline answers one question at a time")

    def _count(self, inputs: Any, **parameters: Any) -> Any:
        self._windows += len(inputs["input_ids"])
        return self._read(inputs, **parameters)


def kept(model: Path, kind: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills from a checkpoint, once.

    Args:
        model: the checkpoint.
        kind: names what is made, with the versions that matter.
        make: gets the folder, which is there and empty.
    """
    digest = hashlib.sha256(kind.encode())
    for path in sorted(path for path in model.iterdir() if path.is_file()):
        digest.update(path.name.encode())
        with path.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    folder = Path(os.environ["EDGEQA_PEERS"]) / "made" / digest.hexdigest()[:16]
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(folder)
    return folder
