"""A loaded model: tokenizer and ONNX graph, from question and text to answers.

The windows of a question run one by one, each at its own length. With dynamic int8 quantisation
the scale of an activation is that of the whole batch, so an answer would otherwise depend on what
else stood in its batch (docs/adr/0004); and memory stays that of one window however long the
text is.

Thread: any; `prepare` and `read` share nothing that changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from edgeqa.errors import DeadlineError, EdgeqaError
from edgeqa.plain_package import MODEL_FILE, TOKENIZER_FILE, PlainPackage, PlainSizes
from edgeqa.reader.contexts import CONTEXT_BYTES
from edgeqa.reader.loading import OUTPUTS, check_token_types, load_session, load_tokenizer
from edgeqa.reader.spans import (
    Logits,
    TextSpan,
    WindowReading,
    candidates_per_window,
    merge,
    read_window,
)
from edgeqa.reader.weights import Weights
from edgeqa.reader.windows import Window, Windower, WindowSizes

if TYPE_CHECKING:
    from edgeqa.manifest import Package, Sizes


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question cut into windows, ready for the model; `tokenise_ms` is what that took."""

    context: str
    windows: list[Window]
    tokenise_ms: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The answers to one question, and the time in onnxruntime and from logits to answers."""

    spans: list[TextSpan]
    no_answer_score: float
    windows: int
    inference_ms: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Part:
    """What one window of a question holds, and the same two times."""

    reading: WindowReading
    inference_ms: float
    decode_ms: float


class InferenceError(EdgeqaError):
    """The model gave something that is not an answer."""

    code = "inference_failed"


class Engine:
    """Answers questions with one package.

    It holds the graph twice where it may use several threads: one question alone is quickest with
    all of them, several at once with one each (docs/adr/0005).

    Attributes:
        threads: of the former, and how many of the latter there may be.
    """

    def __init__(
        self,
        *,
        wide: ort.InferenceSession,
        narrow: ort.InferenceSession,
        weights: Weights,
        windower: Windower,
        max_answer_tokens: int,
        threads: int,
    ) -> None:
        self.threads = threads
        self._weights = weights  # the sessions do not keep it alive
        self._wide = wide
        self._narrow = narrow
        self._windower = windower
        self._max_answer_tokens = max_answer_tokens
        self._inputs = frozenset(node.name for node in wide.get_inputs())

    @classmethod
    def load(
        cls,
        package: Package | PlainPackage,
        *,
        threads: int,
        context_bytes: int = CONTEXT_BYTES,
    ) -> Engine:
        """Load a verified package.

        Args:
            package: of which every file was checked.
            threads: that may infer at the same time.
            context_bytes: of the tokens of texts that are kept for other questions.

        Raises:
            ModelLoadError: onnxruntime or tokenizers refuse a file, or the graph is not a reader.
        """
        plain = package if isinstance(package, PlainPackage) else package.plain()
        return cls.load_files(
            model=plain.file(MODEL_FILE),
            tokenizer=plain.file(TOKENIZER_FILE),
            vocabulary=plain.vocabulary,
            sizes=plain.sizes,
            threads=threads,
            context_bytes=context_bytes,
        )

    @classmethod
    def load_files(
        cls,
        *,
        model: Path,
        tokenizer: Path,
        vocabulary: int,
        sizes: Sizes | PlainSizes,
        threads: int,
        context_bytes: int = CONTEXT_BYTES,
    ) -> Engine:
        """Load a graph and its tokenizer that are not a package yet (the workshop measures them).

        Raises:
            ModelLoadError: as `load`.
        """
        loaded = load_tokenizer(tokenizer, vocabulary)
        weights = Weights.of(model)
        wide = load_session(model, threads, weights=weights)
        weights.release()  # or they would add to the most that loading takes
        if any(node.name == "token_type_ids" for node in wide.get_inputs()):
            check_token_types(loaded, str(tokenizer))
        windower = Windower(
            tokenizer=loaded,
            sizes=WindowSizes(sizes.max_seq_len, sizes.doc_stride, sizes.max_question_tokens),
            context_bytes=context_bytes,
        )
        if threads == 1:
            narrow = wide
        else:
            narrow = load_session(model, 1, weights=weights)
            weights.release()
        return cls(
            wide=wide,
            narrow=narrow,
            weights=weights,
            windower=windower,
            max_answer_tokens=sizes.max_answer_tokens,
            threads=threads,
        )

    def prepare(self, question: str, context: str) -> Prepared:
        """Tokenise.

        Raises:
            PayloadError: see `Windower.cut`.
        """
        begun = time.perf_counter()
        windows = self._windower.cut(question, context)
        return Prepared(context, windows, 1000 * (time.perf_counter() - begun))

    def read(
        self,
        prepared: Prepared,
        *,
        top_k: int = 1,
        stop_at: float | None = None,
        alone: bool = True,
        give_way: Callable[[], None] = lambda: None,
    ) -> Reading:
        """Run the model over the windows and decode.

        Args:
            prepared: what `prepare` gave.
            top_k: answers wanted.
            stop_at: `time.monotonic()` after which no further window is begun.
            alone: nothing else is read meanwhile, so all threads may be used.
            give_way: called before each window and before its decoding, outside what is timed.

        Raises:
            DeadlineError: past `stop_at`.
            InferenceError: the model gave NaN or infinity, or onnxruntime failed.
        """
        parts: list[Part] = []
        for window in prepared.windows:
            give_way()
            if stop_at is not None and time.monotonic() > stop_at:
                raise DeadlineError
            parts.append(self.read_window(window, top_k=top_k, alone=alone, give_way=give_way))
        return self.join(prepared, parts, top_k=top_k)

    def read_window(
        self,
        window: Window,
        *,
        top_k: int = 1,
        alone: bool = True,
        give_way: Callable[[], None] = lambda: None,
    ) -> Part:
        """Run the model over one window and decode it.

        Raises:
            InferenceError: as `read`.
        """
        begun = time.perf_counter()
        start, end = self.logits(window, alone=alone)
        inferred = time.perf_counter()
        give_way()
        decoding = time.perf_counter()
        reading = read_window(
            start,
            end,
            window.context,
            max_answer_tokens=self._max_answer_tokens,
            count=candidates_per_window(top_k),
        )
        ended = time.perf_counter()
        return Part(reading, 1000 * (inferred - begun), 1000 * (ended - decoding))

    def join(self, prepared: Prepared, parts: Sequence[Part], *, top_k: int = 1) -> Reading:
        """The answers of a question, each window of which was read, in its order."""
        begun = time.perf_counter()
        readings = [part.reading for part in parts]
        spans, no_answer = merge(prepared.context, prepared.windows, readings, top_k=top_k)
        joined_ms = 1000 * (time.perf_counter() - begun)
        return Reading(
            spans,
            no_answer,
            len(parts),
            sum(part.inference_ms for part in parts),
            joined_ms + sum(part.decode_ms for part in parts),
        )

    def answer(self, question: str, context: str, *, top_k: int = 1) -> Reading:
        """`prepare` and `read` in one."""
        return self.read(self.prepare(question, context), top_k=top_k)

    def feeds(self, window: Window) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        """int64[1, tokens] for each input that the graph declares."""
        values = {
            "input_ids": window.ids,
            "attention_mask": window.attention_mask,
            "token_type_ids": window.type_ids,
        }
        return {name: values[name][None] for name in self._inputs}

    def logits(self, window: Window, *, alone: bool = True) -> tuple[Logits, Logits]:
        """float32[tokens], start and end, of one window.

        Raises:
            InferenceError: as `read`.
        """
        session = self._wide if alone else self._narrow
        try:
            start, end = session.run(OUTPUTS, self.feeds(window))
        except Exception as error:
            raise InferenceError(f"onnxruntime failed: {error}") from error
        if not (np.isfinite(start).all() and np.isfinite(end).all()):
            raise InferenceError("the model gave logits that are not finite")
        return start[0], end[0]

    def shrink(self) -> None:
        """Let go of the buffers of inferences that no inference uses now, and of mapped weights.

        onnxruntime does the former at the end of an inference: this runs the shortest there is.
        """
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        shortest = self._windower.cut("a", "a")[0]
        self._narrow.run(OUTPUTS, self.feeds(shortest), options)
        self._weights.release()
