"""How far a quantised graph is from the graph it was made of, on some typical windows.

A first look, printed by `quantise`; what a variant costs in answers is measured by `evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeqa.errors import GateError
from edgeqa.manifest import Sizes
from edgeqa.reader.engine import Engine, InferenceError
from edgeqa_models.parity import best_span

# Of the logits of a window: quantisation was measured to leave 0.99 of a trained reader and 0.8 of
# random weights; a graph that computes something else has about 0.
MIN_CORRELATION = 0.5


@dataclass(frozen=True, slots=True)
class Drift:
    """What quantisation changed.

    Attributes:
        windows: compared.
        rms: root of the mean squared difference of a logit.
        correlation: of the logits, mean over the windows.
        same_spans: windows in which both find the same best token span.
    """

    windows: int
    rms: float
    correlation: float
    same_spans: int


def measure_drift(
    before: Engine, after: Engine, texts: Sequence[tuple[str, str]], sizes: Sizes
) -> Drift:
    """Run both over the windows of (question, context) pairs.

    Raises:
        GateError: `parity_failed`, `after` gives something else than `before`, or no numbers.
    """
    squares: list[float] = []
    correlations: list[float] = []
    same = 0
    for window in (window for pair in texts for window in before.prepare(*pair).windows):
        ours = before.logits(window)
        try:
            theirs = after.logits(window)
        except InferenceError as error:
            raise GateError(f"the quantised graph fails: {error}", code="parity_failed") from error
        a, b = np.concatenate(ours), np.concatenate(theirs)
        squares.append(float(np.mean((a - b) ** 2)))
        correlations.append(float(np.corrcoef(a, b)[0, 1]) if b.std() > 0 else 0.0)
        same += best_span(*ours, window, sizes) == best_span(*theirs, window, sizes)
    drift = Drift(len(squares), float(np.mean(squares)) ** 0.5, float(np.mean(correlations)), same)
    if not drift.correlation >= MIN_CORRELATION:
        raise GateError(
            "the quantised graph does not give what its fp32 draft gives: their logits correlate "
            f"by {drift.correlation:.2f}, at least {MIN_CORRELATION} is demanded",
            code="parity_failed",
        )
    return drift
