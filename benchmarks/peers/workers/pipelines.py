"""What the peers that use transformers' pipeline share: how it is asked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from peers.workers.protocol import DOC_STRIDE, MAX_ANSWER_TOKENS, MAX_QUESTION_TOKENS, MAX_SEQ_LEN

# That the pipeline goes with transformers 5 does not concern a version that is pinned.
warnings.filterwarnings("ignore", category=FutureWarning)


class PipelineReader:
    """A question-answering pipeline, one question after the other."""

    def __init__(
        self,
        pipeline: Any,
        *,
        windows: Callable[[], int],
        padding: str,
        packages: Sequence[str],
        settings: str,
    ) -> None:
        self.settings = settings
        self.packages = packages
        self._pipeline = pipeline
        self._windows = windows
        self._padding = padding

    def answer(self, question: str, context: str) -> tuple[str, int]:
        """One question."""
        answer = self._pipeline(
            question=question,
            context=context,
            padding=self._padding,
            max_answer_len=MAX_ANSWER_TOKENS,
            max_seq_len=MAX_SEQ_LEN,
            doc_stride=DOC_STRIDE,
            max_question_len=MAX_QUESTION_TOKENS,
        )
        return str(answer["answer"]), self._windows()

    def at_once(self, count: int) -> None:
        """Raises: ValueError: its tokenizer cannot be used by several threads."""
        if count != 1:
            raise ValueError("the pipeline answers one question at a time")
