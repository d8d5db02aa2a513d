"""Every question of an evaluation with what was answered, as JSON lines."""

from __future__ import annotations

import json

from edgeqa_models.evaluate import Tally


def answer_lines(tally: Tally) -> bytes:
    """One JSON object a line, in the order asked.

    `prediction` is what was scored, `span` the reader's best span before the null threshold;
    `score` and `no_answer_score` are the reader's probabilities, `null_score` what the threshold
    decides on (`edgeqa.squad_v2`). `exact_match` and `f1` are from 0 to 1; `answers` is empty where
    the text does not answer the question.
    """
    lines = []
    for asked, verdict in zip(tally.asked, tally.verdicts, strict=True):
        row = {
            "id": asked.example.id,
            "question": asked.example.question,
            "prediction": verdict.prediction,
            "span": asked.span,
            "score": asked.score,
            "exact_match": verdict.exact_match,
            "f1": verdict.f1,
            "no_answer_score": asked.no_answer_score,
            "null_score": asked.null_score,
            "milliseconds": round(asked.milliseconds, 3),
            "refused": asked.refused,
            "answers": [gold.text for gold in asked.example.answers],
        }
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    # Half a surrogate pair, which JSON data may hold, has no UTF-8; it stays an escape of JSON.
    return "".join(lines).encode(errors="backslashreplace")
