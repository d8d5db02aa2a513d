"""Our reader against the transformers question-answering pipeline, on the same fp32 weights.

Prints the share of questions with the same answer and lists each difference with its reason, and
compares EM and F1 of `edgeqa.squad` with `transformers.data.metrics.squad_metrics` over both sets
of answers, question by question.

    python benchmarks/parity.py --checkpoint RUN/final --model fp32-draft --data dev.json
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from edgeqa.reader.engine import Engine, Reading
from edgeqa.squad import Example, best, exact, f1, read_squad
from edgeqa_models.draft import SERVED, open_measurable
from edgeqa_models.sample import draw

# Scores are probabilities in float32, summed over spans; below this two answers are equally good
# to both implementations and the order of summation decides.
NEAR_TIE = 1e-4
TARGET = 0.995


@dataclass(frozen=True)
class Difference:
    """A question that the two answer differently, and why."""

    id: str
    question: str
    ours: str
    theirs: str
    our_score: float
    their_score: float
    reason: str


def main() -> int:
    options = _options()
    examples = draw(read_squad(options.data), options.limit, seed=0)
    engine = open_measurable(options.model, threads=options.threads).engine
    pipeline = _pipeline(options.checkpoint, options.threads)
    console = Console(stderr=True)
    differences: list[Difference] = []
    ours: dict[str, str] = {}
    theirs: dict[str, str] = {}
    for example in track(examples, "comparing", console=console):
        reading = engine.answer(example.question, example.context, top_k=3)
        answer = pipeline(
            question=example.question,
            context=example.context,
            top_k=1,
            max_answer_len=SERVED.max_answer_tokens,
            max_seq_len=SERVED.max_seq_len,
            doc_stride=SERVED.doc_stride,
            max_question_len=SERVED.max_question_tokens,
        )
        ours[example.id] = reading.spans[0].text
        theirs[example.id] = answer["answer"]
        if ours[example.id] != theirs[example.id]:
            differences.append(_difference(example, engine, reading, answer))
    metrics = [_compare_metrics(examples, answers) for answers in (ours, theirs)]
    share = 1 - len(differences) / len(examples)
    _print(differences, metrics, share, len(examples))
    if options.report:
        options.report.write_text(
            json.dumps(
                {
                    "questions": len(examples),
                    "same": share,
                    "differences": [asdict(difference) for difference in differences],
                    "ours": metrics[0],
                    "pipeline": metrics[1],
                },
                indent=2,
                ensure_ascii=False,
            )
            + "\n"
        )
    agree = all(metric["disagreements"] == 0 for metric in metrics)
    return 0 if share >= TARGET and agree else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="fine-tuned folder, for transformers")
    parser.add_argument(
        "--model", type=Path, required=True, help="fp32 draft or package of the same weights"
    )
    parser.add_argument("--data", type=Path, required=True, help="SQuAD v1.1 file")
    parser.add_argument("--limit", type=int, default=0, help="random sample; 0: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write the result as JSON")
    return parser.parse_args()


def _pipeline(checkpoint: str, threads: int) -> Any:
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    return transformers.pipeline("question-answering", model=checkpoint, device="cpu")


def _difference(
    example: Example, engine: Engine, reading: Reading, answer: dict[str, Any]
) -> Difference:
    ours = reading.spans[0]
    wide = engine.answer(example.question, example.context, top_k=20).spans
    same_place = [span for span in wide if span.text.lower() == answer["answer"].lower()]
    if ours.text.lower() == answer["answer"].lower():
        reason = "the same words in another case: two places of the text share the answer"
    elif same_place and ours.score - same_place[0].score < NEAR_TIE:
        gap = ours.score - same_place[0].score
        reason = f"near tie: ours has both, {gap:.1e} apart"
    elif same_place:
        gap = ours.score - same_place[0].score
        reason = f"ours ranks theirs lower by {gap:.4f}"
    else:
        reason = "ours does not have theirs among its best 20"
    if reading.windows > 1:
        reason += f"; {reading.windows} windows"
    return Difference(
        id=example.id,
        question=example.question,
        ours=ours.text,
        theirs=answer["answer"],
        our_score=ours.score,
        their_score=answer["score"],
        reason=reason,
    )


def _compare_metrics(examples: list[Example], answers: dict[str, str]) -> dict[str, float]:
    """Sums of both implementations, and the questions on which a single score differs."""
    mine: Counter[str] = Counter()
    reference: Counter[str] = Counter()
    disagreements = 0
    for example, (their_exact, their_f1) in zip(
        examples, _reference(examples, answers), strict=True
    ):
        own_exact = best(exact, example.answers, answers[example.id])
        own_f1 = best(f1, example.answers, answers[example.id])
        disagreements += (own_exact, own_f1) != (their_exact, their_f1)
        mine.update(exact=own_exact, f1=own_f1)  # type: ignore[call-overload]  # floats add up
        reference.update(exact=their_exact, f1=their_f1)  # type: ignore[call-overload]  # same
    count = len(examples)
    return {
        "exact_match": 100 * mine["exact"] / count,
        "f1": 100 * mine["f1"] / count,
        "squad_metrics_exact_match": 100 * reference["exact"] / count,
        "squad_metrics_f1": 100 * reference["f1"] / count,
        "disagreements": disagreements,
    }


def _reference(examples: list[Example], answers: dict[str, str]) -> Iterator[tuple[float, float]]:
    from transformers.data.metrics import squad_metrics
    from transformers.data.processors.squad import SquadExample

    rows = [
        SquadExample(
            qas_id=str(index),
            question_text=example.question,
            context_text=example.context,
            answer_text=None,
            start_position_character=None,
            title=example.title,
            answers=[{"text": gold.text} for gold in example.answers],
        )
        for index, example in enumerate(examples)
    ]
    predictions = {str(index): answers[example.id] for index, example in enumerate(examples)}
    exact_scores, f1_scores = squad_metrics.get_raw_scores(rows, predictions)
    for index in range(len(examples)):
        yield float(exact_scores[str(index)]), float(f1_scores[str(index)])


def _print(
    differences: list[Difference], metrics: list[dict[str, float]], share: float, count: int
) -> None:
    for difference in differences:
        print(f"{difference.id}  {difference.question}")
        print(f"  ours    {difference.our_score:.4f}  {difference.ours!r}")
        print(f"  theirs  {difference.their_score:.4f}  {difference.theirs!r}")
        print(f"  {difference.reason}")
    print(f"same answer: {count - len(differences)} of {count} ({100 * share:.2f} %)")
    for name, metric in zip(("ours", "pipeline"), metrics, strict=True):
        print(
            f"{name:9} EM {metric['exact_match']:.4f} F1 {metric['f1']:.4f}; squad_metrics "
            f"EM {metric['squad_metrics_exact_match']:.4f} F1 {metric['squad_metrics_f1']:.4f}; "
            f"{metric['disagreements']:.0f} questions scored differently"
        )


if __name__ == "__main__":
    sys.exit(main())
