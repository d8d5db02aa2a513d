"""EdgeQA's engine, without broker and agent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeqa.reader.engine import Engine
from edgeqa_models.draft import open_measurable
from peers.workers.protocol import serve


class EngineReader:
    """A package or a draft."""

    packages: Sequence[str] = ("edgeqa", "onnxruntime", "tokenizers", "numpy")

    def __init__(self, engine: Engine, precision: str, threads: int) -> None:
        self._engine = engine
        self._alone = True
        self.settings = (
            f"{precision}; as the agent runs it: a lone question with {threads} threads, several "
            "at once with one each; windows at their own length"
        )

    def answer(self, question: str, context: str) -> tuple[str, int]:
        """One question; the other threads' run beside it."""
        reading = self._engine.read(self._engine.prepare(question, context), alone=self._alone)
        return (reading.spans[0].text if reading.spans else ""), reading.windows

    def at_once(self, count: int) -> None:
        """One thread for each of several questions."""
        self._alone = count == 1


def _load(model: Path, threads: int, _: dict[str, str]) -> EngineReader:
    loaded = open_measurable(model, threads=threads)
    return EngineReader(loaded.engine, loaded.precision, threads)


if __name__ == "__main__":
    serve("edgeqa", _load)
