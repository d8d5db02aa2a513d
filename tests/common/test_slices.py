"""Slices: the same everywhere, and together the whole set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeqa import evaluation_set
from edgeqa.data.slices import shuffled, slice_bounds, slice_id, slices_of
from edgeqa.squad import Example, Gold

_SCRIPT = (
    "from edgeqa import evaluation_set\n"
    "from edgeqa.data.slices import *\n"
    "all = shuffled(reversed(evaluation_set.load()))\n"
    "print(*[slice_id(all[slice(*slice_bounds(len(all), 12, i))]) for i in range(12)])"
)


@given(total=st.integers(1, 2000), size=st.integers(1, 300))
def test_slices_cover_the_set_once_and_evenly(total: int, size: int) -> None:
    of = slices_of(total, size)
    bounds = [slice_bounds(total, of, index) for index in range(of)]
    assert [place for begin, end in bounds for place in range(begin, end)] == [*range(total)]
    lengths = {end - begin for begin, end in bounds}
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


def test_ids_are_the_same_in_two_processes_and_whatever_the_order_of_the_set() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(set(said[0].split())) == 12
    first = shuffled(evaluation_set.load())[slice(*slice_bounds(594, 12, 0))]
    assert said[0].split()[0] == slice_id(first)


def test_the_embedded_set_keeps_its_slices() -> None:
    """Devices of different versions must mean the same questions by an id."""
    first = shuffled(evaluation_set.load())[slice(*slice_bounds(594, 12, 0))]
    assert slice_id(first) == "secf7925aa72a8e56"


@pytest.mark.parametrize("change", ["id", "question", "context", "answer", "start"])
def test_another_question_or_answer_is_another_slice(change: str) -> None:
    def made(**fields: str) -> Example:
        gold = Gold(fields.pop("answer", "b"), int(fields.pop("start", 2)))
        return Example(**{"id": "1", "title": "", "question": "q", "context": "a b b"} | fields,
                       answers=(gold,))  # fmt: skip

    changed = made(**{change: "4" if change == "start" else "x"})
    assert slice_id([made()]) != slice_id([changed])


def test_half_a_surrogate_pair_has_a_digest_too() -> None:
    assert slice_id([Example("1", "", "\ud800", "c", ())]).startswith("s")
