"""A package for people: what its manifest says, and the score cards of its variants as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeqa.manifest import Manifest, Package
from edgeqa.scores import ScoreCard

_MEGABYTE = 1e6
_HEADINGS = (
    *("variant", "EM", "95 %", "F1", "95 %", "p50 ms", "p95 ms", "questions/s", "MB"),
    "peak MB",
)


def describe(package: Package) -> Iterator[str]:
    """Lines of text."""
    manifest, shape = package.manifest, package.manifest.architecture
    yield f"{manifest.name} {manifest.version}  {package.digest}"
    if manifest.forced is not None:
        yield manifest.forced.line()
    yield (
        f"model     {shape.type}, {shape.layers} layers of {shape.hidden}, {shape.heads} heads, "
        f"{shape.parameters:,} parameters, {manifest.precision}"
    )
    sizes = manifest.sizes
    yield (
        f"windows   {sizes.max_seq_len} tokens, {sizes.doc_stride} shared; questions of at most "
        f"{sizes.max_question_tokens}, answers of {sizes.max_answer_tokens}"
    )
    yield f"licence   {manifest.licence}"
    yield f"base      {manifest.training.base} ({manifest.training.base_licence})"
    for source in manifest.training.data:
        yield f"data      {source.name} ({source.licence}), {source.questions:,} questions"
    for name, entry in manifest.files.items():
        yield f"file      {name}, {entry.bytes:,} bytes, sha256:{entry.sha256}"
    yield ""
    yield from _cards(manifest.cards) if manifest.cards else _scores(manifest)
    if manifest.baseline is not None:
        base = manifest.baseline
        yield (
            f"baseline  p50 {base.p50_ms:.1f} ms, p95 {base.p95_ms:.1f} ms a question, "
            f"{base.threads} thread(s) on {base.machine}"
        )


def _scores(manifest: Manifest) -> Iterator[str]:
    """What packages before 0.2 have in place of score cards."""
    for score in manifest.scores:
        yield (
            f"{score.precision}: EM {score.exact_match:.2f}, F1 {score.f1:.2f} on "
            f"{score.questions} questions of {score.dataset}"
        )


def _cards(cards: Sequence[ScoreCard]) -> Iterator[str]:
    rows = [_HEADINGS, *map(_row, cards)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
    yield ""
    yield "* in the package"
    measured = dict.fromkeys(
        f"{card.questions} questions of {card.dataset}, {card.threads} thread(s) on {card.machine}"
        for card in cards
    )
    if len(measured) == 1:
        yield f"measured on {next(iter(measured))}"
    else:
        for card in cards:
            yield (
                f"{card.variant}: {card.questions} questions of {card.dataset}, {card.threads} "
                f"thread(s) on {card.machine}"
            )


def _row(card: ScoreCard) -> tuple[str, ...]:
    return (
        f"{card.variant}{' *' * card.packaged}",
        f"{card.exact_match:.2f}",
        "{:.2f}-{:.2f}".format(*card.exact_match_interval),
        f"{card.f1:.2f}",
        "{:.2f}-{:.2f}".format(*card.f1_interval),
        f"{card.p50_ms:.1f}",
        f"{card.p95_ms:.1f}",
        f"{card.questions_per_s:.1f}",
        f"{card.model_bytes / _MEGABYTE:.1f}",
        f"{card.peak_memory_bytes / _MEGABYTE:.0f}",
    )
