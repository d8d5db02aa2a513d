"""Packages of full size with random weights: BERT-base and DistilBERT, in any precision.

They answer nonsense, but as quickly and in as much memory as trained models of that size. Their
check questions accept what they do answer, so that they load like any other package. They are for
measurements of memory, time and swaps; `edgeqa models package` would rightly refuse them.

    python benchmarks/fullsize.py --work FOLDER     # the packages are in FOLDER/packages
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgeqa.files import write_atomic
from edgeqa.manifest import (
    CHECKS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Check,
    FileEntry,
    Manifest,
    Package,
    Training,
    open_package,
)
from edgeqa_agent.settings import default_package

KINDS = ("bert-base", "distilbert")


def main(
    work: Annotated[Path, typer.Option(help="What is there already is not made again.")],
    precisions: Annotated[
        list[str] | None, typer.Option("--precision", help="Repeatable; fp32 and int8.")
    ] = None,
    checks: Annotated[int, typer.Option(min=1, help="Check questions of a package.")] = 8,
) -> None:
    """Make checkpoints, drafts and packages below a folder."""
    console = Console(highlight=False, soft_wrap=True)
    for kind in KINDS:
        for precision in precisions or ["fp32", "int8"]:
            made = make(work, kind, precision, checks)
            console.print(f"{made.path}  {made.digest}")


def make(work: Path, kind: str, precision: str, checks: int) -> Package:
    """`work`/packages/`kind`-`precision`."""
    path = work / "packages" / f"{kind}-{precision}"
    if not path.exists():
        package_draft(_draft(work, kind, precision), path, checks)
    return open_package(path)


def _checkpoint(work: Path, kind: str) -> Path:
    import torch
    import transformers

    path = work / "checkpoints" / kind
    if not path.exists():
        torch.manual_seed(11)
        if kind == "bert-base":
            model: Any = transformers.BertForQuestionAnswering(transformers.BertConfig())
        else:
            model = transformers.DistilBertForQuestionAnswering(transformers.DistilBertConfig())
        model.save_pretrained(path)
        # The configurations' vocabulary is that of bert-base-uncased, as is our tokenizer's.
        special = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
        types = ["token_type_ids"] if kind == "bert-base" else []
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(default_package() / TOKENIZER_FILE),
            model_input_names=["input_ids", *types, "attention_mask"],
            **{f"{name}_token": token for name, token in special.items()},
        )
        tokenizer.save_pretrained(path)
    return path


def _draft(work: Path, kind: str, precision: str) -> Path:
    from edgeqa_models.export import export
    from edgeqa_models.quantise import quantise
    from edgeqa_models.variants import Variant

    path = work / "drafts" / f"{kind}-{precision}"
    if not path.exists():
        pairs = [(check.question, check.context) for check in _questions(4)]
        path.parent.mkdir(parents=True, exist_ok=True)
        if precision == "fp32":
            export(checkpoint=str(_checkpoint(work, kind)), output=path, questions=pairs)
        else:
            source = _draft(work, kind, "fp32")
            quantise(draft=source, output=path, texts=pairs, variant=Variant(precision))
    return path


def package_draft(draft: Path, path: Path, checks: int) -> None:
    """A package that answers its check questions as the draft does."""
    from edgeqa_models.draft import open_measurable, read_draft

    description = read_draft(draft)
    engine = open_measurable(draft, threads=1).engine
    asked = [
        Check(
            question=check.question,
            context=check.context,
            answers=[engine.answer(check.question, check.context).spans[0].text],
        )
        for check in _questions(checks)
    ]
    path.mkdir(parents=True)
    files = {name: (draft / name).read_bytes() for name in (MODEL_FILE, TOKENIZER_FILE)}
    files[CHECKS_FILE] = json.dumps([check.model_dump() for check in asked]).encode()
    for name, content in files.items():
        write_atomic(path / name, content)
    manifest = Manifest(
        schema=1,
        name=path.name,
        version="1.0.0",
        architecture=description.architecture,
        precision=description.precision,
        sizes=description.sizes,
        files={
            name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
            for name, content in files.items()
        },
        licence="Apache-2.0",
        training=Training(base="random weights", base_licence="none", data=[], recipe={"seed": 11}),
        scores=[],
    )
    write_atomic(path / MANIFEST_FILE, manifest.model_dump_json(by_alias=True).encode())


def _questions(count: int) -> list[Check]:
    return open_package(default_package()).checks()[:count]


if __name__ == "__main__":
    typer.run(main)
