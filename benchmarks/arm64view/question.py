"""The question that is counted in the emulator and timed on the board: one window of known length.

Only numpy, onnxruntime, tokenizers and the reader of `edgeqa` are needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgeqa.reader.engine import Engine
from edgeqa.reader.windows import Window

QUESTION = "After what time does the hardware watchdog run out?"
_SENTENCE = "The hardware watchdog of the gateway runs out after 15 seconds and starts it anew. "
# Of a tokenizer and its model, which are not checked against each other here.
_ANY_VOCABULARY = 1 << 31


def load(package: Path, threads: int) -> Engine:
    """A package's engine, without the library that reads its manifest."""
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    sizes: Any = SimpleNamespace(**manifest["sizes"])
    return Engine.load_files(
        model=package / "model.onnx",
        tokenizer=package / "tokenizer.json",
        vocabulary=_ANY_VOCABULARY,
        sizes=sizes,
        threads=threads,
    )


def text(engine: Engine, tokens: int) -> str:
    """That fills one window to so many tokens, question and all, or nearly."""
    words = (_SENTENCE * (tokens // 8 + 1)).split()
    for count in range(len(words), 0, -1):
        context = " ".join(words[:count])
        windows = engine.prepare(QUESTION, context).windows
        if len(windows) == 1 and len(windows[0].ids) <= tokens:
            return context
    raise SystemExit(f"a window of {tokens} tokens has no room for the question")


def another(context: str, number: int) -> str:
    """One of 8,100 texts of the same length, as the tokens of a text that was seen are kept."""
    first, rest = divmod(number, 90)
    before, _, after = context.partition("15")
    return before + str(10 + first % 90) + after.replace("15", str(10 + rest))


def window(engine: Engine, context: str) -> Window:
    """The one that the graph reads."""
    [only] = engine.prepare(QUESTION, context).windows
    return only
