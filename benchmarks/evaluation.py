"""Evaluation of SQuAD questions: our reader against the transformers pipeline on torch.

Same weights, same questions, same number of threads. The sides take turns in blocks of questions,
so that what else the machine does hits all alike; a ratio is the median over the blocks. Padding
to 384 tokens, as the published Raspberry Pi run did, is a side of its own.

    python benchmarks/evaluation.py --data dev.json                    # full-size DistilBERT
    python benchmarks/evaluation.py --data dev.json --checkpoint RUN/final

Without --checkpoint the weights are random ones of the size of distilbert-base-uncased: time does
not depend on their values, EM and F1 mean nothing then and are left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgeqa.errors import EdgeqaError
from edgeqa.squad import Example, best, exact, f1, read_squad
from edgeqa_models.draft import SERVED, open_measurable
from edgeqa_models.report import machine
from edgeqa_models.sample import draw

PACKAGES = Path(__file__).parent.parent / "models" / "packages"
PIPELINE, PADDED = "transformers pipeline, torch fp32", "the same, padded to 384"
OURS, OURS_INT8 = "EdgeQA fp32", "EdgeQA int8"

Answer = Callable[[str, str], str]


@dataclass
class Side:
    """One contender: how it answers, and what was measured."""

    name: str
    answer: Answer = field(repr=False)
    at_once: int = 1
    blocks_s: list[float] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)

    def run(self, block: Sequence[Example]) -> None:
        """Answer a block of questions and note how long it took."""
        begun = time.perf_counter()
        with ThreadPoolExecutor(self.at_once) as pool:
            answers = pool.map(lambda e: self.answer(e.question, e.context), block)
            self.answers.update(zip((e.id for e in block), answers, strict=True))
        self.blocks_s.append(time.perf_counter() - begun)


@dataclass(frozen=True)
class Row:
    """A line of the result; times in seconds, ratios against the pipeline as it is."""

    side: str
    seconds: float
    per_question_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    same_answer: float
    exact_match: float | None
    f1: float | None


def main() -> int:
    options = _options()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    try:
        return _run(options)
    except EdgeqaError as error:
        print(f"error: {error} [{error.code}]", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    examples = draw(read_squad(options.data), options.questions, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        checkpoint = options.checkpoint or str(_full_size(work / "distilbert-base-random"))
        sides = _sides(checkpoint, work, options.threads)
        _take_turns(sides, examples, options.block)
    rows = _rows(sides, examples, scored=options.checkpoint is not None)
    about = {
        "machine": machine(),
        "threads": options.threads,
        "questions": len(examples),
        "data": options.data.name,
        "weights": options.checkpoint or "random, size of distilbert-base-uncased",
        "versions": _versions(),
    }
    table = _table(rows)
    print(
        f"\n{about['questions']} questions of {about['data']}, {about['threads']} threads, "
        f"{about['machine']}, weights: {about['weights']}\n\n{table}"
    )
    if options.report:
        document = {**about, "rows": [asdict(row) for row in rows]}
        options.report.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="SQuAD v1.1 file")
    parser.add_argument("--checkpoint", help="fine-tuned reader; default: random full-size weights")
    parser.add_argument("--questions", type=int, default=1000, help="a random sample")
    parser.add_argument("--block", type=int, default=20, help="questions a turn")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--work", type=Path, help="keep weights and graphs here for the next run")
    parser.add_argument("--report", type=Path, help="write the result as JSON")
    return parser.parse_args()


def _full_size(folder: Path) -> Path:
    """A DistilBERT of published size with the tokenizer of the default package."""
    import torch
    import transformers

    if (folder / "model.safetensors").exists():
        return folder
    torch.manual_seed(0)
    model = transformers.DistilBertForQuestionAnswering(transformers.DistilBertConfig())
    with torch.no_grad():
        model.qa_outputs.weight *= 50  # sharper answers: fewer ties between the sides
    [package, *_] = sorted(PACKAGES.glob("minilm-l6-squad-*"))
    tokenizer = transformers.DistilBertTokenizerFast(tokenizer_file=str(package / "tokenizer.json"))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _sides(checkpoint: str, work: Path, threads: int) -> list[Side]:
    from edgeqa_models.export import export
    from edgeqa_models.quantise import calibration_texts, quantise

    fp32, int8 = work / "fp32", work / "int8"
    if not fp32.exists():
        export(checkpoint=checkpoint, output=fp32, questions=calibration_texts())
    if not int8.exists():
        quantise(draft=fp32, output=int8, texts=calibration_texts())
    pipeline = _pipeline(checkpoint, threads)
    return [
        Side(PIPELINE, lambda q, c: _ask_pipeline(pipeline, q, c, "do_not_pad")),
        Side(PADDED, lambda q, c: _ask_pipeline(pipeline, q, c, "max_length")),
        Side(OURS, _reader(fp32, threads)),
        Side(OURS_INT8, _reader(int8, threads)),
        Side(f"{OURS}, {threads} questions at once", _reader(fp32, 1), threads),
        Side(f"{OURS_INT8}, {threads} questions at once", _reader(int8, 1), threads),
    ]


def _pipeline(checkpoint: str, threads: int) -> Any:
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    return transformers.pipeline("question-answering", model=checkpoint, device="cpu")


def _ask_pipeline(pipeline: Any, question: str, context: str, padding: str) -> str:
    answer = pipeline(
        question=question,
        context=context,
        padding=padding,
        max_answer_len=SERVED.max_answer_tokens,
        max_seq_len=SERVED.max_seq_len,
        doc_stride=SERVED.doc_stride,
        max_question_len=SERVED.max_question_tokens,
    )
    return str(answer["answer"])


def _reader(draft: Path, threads: int) -> Answer:
    engine = open_measurable(draft, threads=threads).engine

    def answer(question: str, context: str) -> str:
        spans = engine.answer(question, context).spans
        return spans[0].text if spans else ""

    return answer


def _take_turns(sides: list[Side], examples: list[Example], block: int) -> None:
    for side in sides:  # warm up: allocators, thread pools, tokenizers
        for example in examples[:3]:
            side.answer(example.question, example.context)
    bar = Progress(
        TextColumn("questions"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("", total=len(examples))
        for turn, begin in enumerate(range(0, len(examples), block)):
            part = examples[begin : begin + block]
            first = turn % len(sides)
            for side in [*sides[first:], *sides[:first]]:
                side.run(part)
            bar.advance(task, len(part))


def _rows(sides: list[Side], examples: list[Example], *, scored: bool) -> list[Row]:
    reference = sides[0]
    rows = []
    for side in sides:
        ratios = [a / b for a, b in zip(reference.blocks_s, side.blocks_s, strict=True)]
        ordered = sorted(ratios)
        seconds = sum(side.blocks_s)
        same = sum(side.answers[e.id] == reference.answers[e.id] for e in examples)
        rows.append(
            Row(
                side=side.name,
                seconds=seconds,
                per_question_ms=1000 * seconds / len(examples),
                ratio=statistics.median(ratios),
                ratio_low=ordered[len(ordered) // 10],
                ratio_high=ordered[-1 - len(ordered) // 10],
                same_answer=100 * same / len(examples),
                exact_match=_score(exact, side, examples) if scored else None,
                f1=_score(f1, side, examples) if scored else None,
            )
        )
    return rows


def _score(metric: Any, side: Side, examples: list[Example]) -> float:
    total = sum(best(metric, example.answers, side.answers[example.id]) for example in examples)
    return 100 * total / len(examples)


def _table(rows: list[Row]) -> str:
    lines = [
        "| | time | a question | times as fast (10th to 90th percentile) | same answer | EM | F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        scores = "".join(
            f" {v:.2f} |" if v is not None else " |" for v in (row.exact_match, row.f1)
        )
        lines.append(
            f"| {row.side} | {row.seconds:.1f} s | {row.per_question_ms:.1f} ms | {row.ratio:.2f} "
            f"({row.ratio_low:.2f} to {row.ratio_high:.2f}) | {row.same_answer:.1f} % |{scores}"
        )
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    import onnxruntime
    import torch
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
