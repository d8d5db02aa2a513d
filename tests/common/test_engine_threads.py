"""An answer does not depend on how many cores it was given."""

from __future__ import annotations

import numpy as np

from edgeqa.manifest import open_package
from edgeqa.reader.engine import Engine
from edgeqa_agent.settings import default_package


def test_all_threads_and_one_thread_give_the_same_bits() -> None:
    package = open_package(default_package())
    engine = Engine.load(package, threads=2)
    for check in package.checks():
        prepared = engine.prepare(check.question, check.context)
        for window in prepared.windows:
            wide = engine.logits(window, alone=True)
            narrow = engine.logits(window, alone=False)
            assert all(np.array_equal(a, b) for a, b in zip(wide, narrow, strict=True))
        assert engine.read(prepared, alone=True).spans == engine.read(prepared, alone=False).spans
