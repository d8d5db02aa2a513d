"""The variants of a model: names and what each is for. Light to import, for `--help`."""

from __future__ import annotations

from enum import StrEnum


class Variant(StrEnum):
    """What `quantise` makes of an fp32 draft; the names are the manifest's precisions."""

    INT8 = "int8"
    INT8_BLOCK = "int8-block"
    INT4_BLOCK = "int4-block"
    FP16 = "fp16"


ABOUT = {
    Variant.INT8: (
        "the quickest: weights int8 per channel, activations uint8 with one scale per tensor, "
        "attention's projections too, loud channels apart in fp32"
    ),
    Variant.INT8_BLOCK: (
        "nearer to fp32 than int8, and slower: weights int8 in blocks of 32 with a scale each, "
        "activations likewise, so that a loud channel spoils its own block alone; onnxruntime 1.23"
    ),
    Variant.INT4_BLOCK: (
        "the smallest: weights int4 in blocks of 32; loses answers, look at its score card first"
    ),
    Variant.FP16: (
        "half the size of fp32 and its answers: weights stored as fp16, computed in fp32; no "
        "quicker"
    ),
}


def listed() -> str:
    """All variants with what each is for, a line each."""
    width = max(map(len, Variant))
    return "\n".join(f"{variant:<{width}}  {ABOUT[variant]}" for variant in Variant)
