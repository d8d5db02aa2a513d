"""`make bench` goes on where it stopped, keeps conditions apart, and computes what it says."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from bench.aims import aims
from bench.compare import Comparison
from bench.lineup import lineups, own_sides
from bench.loaded import _times
from bench.models import Model
from bench.questions import Questions
from bench.results import latency, rows
from bench.settings import Settings
from bench.sides import Side
from bench.state import Record, State
from bench.stats import quantile, ratios, spread
from bench.tasks import Task, Turn, run_all
from peers import Asked, PeerError
from rich.console import Console

from edgeqa.errors import ConfigError, DataError
from edgeqa.squad import Example, Gold

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)
BASIS = {"machine": {"cores": 2}, "seed": 0}
EXAMPLES = [
    Example(str(n), "title", f"question {n}", "the context", (Gold("context", 4),))
    for n in range(10)
]
QUESTIONS = Questions("ten", "sha256:0", EXAMPLES[:2], EXAMPLES)


def task(turn: Turn, *, most: int = 4, least: int = 1, budget_s: float = 60.0) -> Task:
    @contextmanager
    def opened(about: dict[str, Any]) -> Iterator[Turn]:
        about["opened"] = about.get("opened", 0) + 1
        yield turn

    return Task(
        "start/default/1", "start", "default", "a task", {}, most, least, budget_s, 0, opened
    )


# --- figures


def test_quantiles_are_those_of_numpy() -> None:
    import numpy as np

    values = sorted([3.0, 1.0, 7.5, 2.0, 9.25, 4.0])
    for share in (0.0, 0.25, 0.5, 0.9, 0.99, 1.0):
        assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)))


def test_a_ratio_is_taken_within_a_turn_and_only_where_both_were_measured() -> None:
    turns = [{"a": 4.0, "b": 2.0}, {"a": 9.0, "b": 3.0}, {"a": 5.0}]
    assert ratios(turns, "a", "b") == [2.0, 3.0]
    found = spread(ratios(turns, "a", "b"))
    assert found is not None
    assert (found.median, found.turns) == (2.5, 2)
    assert spread([]) is None


def test_the_load_is_random_in_time_repeatable_and_has_its_rate() -> None:
    times = _times(50.0, 40.0, seed=1)
    assert times == _times(50.0, 40.0, seed=1) != _times(50.0, 40.0, seed=2)
    assert 1800 < len(times) < 2200
    gaps = [b - a for a, b in itertools.pairwise(times)]
    # Of a Poisson process, the gaps are exponential: a share of 1/e is longer than the mean.
    longer = sum(gap > 1 / 50.0 for gap in gaps) / len(gaps)
    assert 0.33 < longer < 0.41


# --- the state


def test_a_state_goes_on_under_the_same_conditions_alone(tmp_path: Path) -> None:
    state = State.open(tmp_path, BASIS, fresh=False)
    state.record("a").turns.append({"x": 1})
    state.save()
    assert State.open(tmp_path, BASIS, fresh=False).record("a").turns == [{"x": 1}]
    changed = {"machine": {"cores": 4}, "seed": 0}
    with pytest.raises(ConfigError, match=r"machine\.cores changed.*--fresh"):
        State.open(tmp_path, changed, fresh=False)
    assert State.open(tmp_path, changed, fresh=True).records == {}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema":1,"basis":{},"records":{"a":[]}}'])
def test_a_state_that_cannot_be_read_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(ConfigError, match="--fresh"):
        State.open(tmp_path, BASIS, fresh=False)


# --- tasks


def test_what_ctrl_c_ended_goes_on_with_the_next_turn(tmp_path: Path) -> None:
    seen: list[int] = []

    def turn(before: list[dict[str, Any]]) -> dict[str, Any]:
        if len(seen) == 2:
            seen.append(-1)
            raise KeyboardInterrupt
        seen.append(len(before))
        return {"turn": len(before)}

    with pytest.raises(KeyboardInterrupt):
        run_all([task(turn)], State.open(tmp_path, BASIS, fresh=False), QUIET)
    state = State.open(tmp_path, BASIS, fresh=False)
    run_all([task(turn)], state, QUIET)
    assert seen == [0, 1, -1, 2, 3]
    assert [t["turn"] for t in state.record("start/default/1").turns] == [0, 1, 2, 3]


def test_what_is_done_is_not_opened_again(tmp_path: Path) -> None:
    state = State.open(tmp_path, BASIS, fresh=False)
    one = task(lambda _: {})
    run_all([one], state, QUIET)
    run_all([one], state, QUIET)
    assert state.record(one.key).about["opened"] == 1
    run_all([task(lambda _: {}, most=6)], state, QUIET)
    assert len(state.record(one.key).turns) == 6


def test_a_task_whose_time_is_over_takes_its_least_turns(tmp_path: Path) -> None:
    state = State.open(tmp_path, BASIS, fresh=False)
    run_all([task(lambda _: {}, most=9, least=3, budget_s=0.0)], state, QUIET)
    assert len(state.record("start/default/1").turns) == 3


def test_a_task_that_fails_is_noted_and_tried_again(tmp_path: Path) -> None:
    def failing(before: list[dict[str, Any]]) -> dict[str, Any]:
        if before:
            raise DataError("it broke\nwith details")
        return {}

    state = State.open(tmp_path, BASIS, fresh=False)
    run_all([task(failing)], state, QUIET)
    record = state.record("start/default/1")
    assert (record.error, len(record.turns)) == ("it broke", 1)
    run_all([task(lambda _: {})], state, QUIET)
    assert (record.error, len(record.turns)) == (None, 4)


# --- comparisons


class Answering:
    """A host in this process: takes `seconds` for a question, by its own word."""

    def __init__(self, seconds: float, text: str, *, fails_at: int = -1) -> None:
        self.asked: list[list[str]] = []
        self._seconds = seconds
        self._text = text
        self._fails_at = fails_at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def load(self) -> dict[str, Any]:
        return {"versions": {"it": "1"}, "settings": "none"}

    def ask(self, examples: Sequence[Example], at_once: int) -> Asked:
        if len(self.asked) == self._fails_at:
            raise PeerError("it died")
        self.asked.append([example.id for example in examples])
        return Asked(self._seconds * len(examples), {e.id: self._text for e in examples}, 0)


def compared(hosts: dict[str, Answering], turns: int, tmp_path: Path) -> Record:
    sides = [Side(name, name.upper(), name, Path()) for name in hosts]
    comparison = Comparison(
        sides=sides,
        questions=QUESTIONS,
        hosts=lambda: {side.process: hosts[side.key] for side in sides},
        block=3,
        trained=True,
    )
    one = task(lambda _: {})
    about = {"sides": [[side.key, side.title, 1] for side in sides]}
    made = Task(one.key, "peers", "default", "", about, turns, 1, 60, 0, comparison.open)
    state = State.open(tmp_path, BASIS, fresh=True)
    run_all([made], state, QUIET)
    return state.record(one.key)


def test_all_sides_answer_the_same_questions_and_none_twice(tmp_path: Path) -> None:
    hosts = {"a": Answering(0.1, "context"), "b": Answering(0.2, "other")}
    record = compared(hosts, 3, tmp_path)
    warm_up, *blocks = hosts["a"].asked
    assert hosts["b"].asked == [warm_up, *blocks]
    assert [name for block in blocks for name in block] == [str(n % 10) for n in range(9)]
    a, b = rows(record)
    assert a.per_s is not None
    assert a.per_s.median == pytest.approx(10)
    assert a.than["b"].median == pytest.approx(2)
    assert b.than["a"].median == pytest.approx(0.5)
    assert (a.same, b.same) == (100, 0)
    assert (a.exact_match, b.exact_match) == (100, 0)


def test_a_side_that_dies_is_left_out_from_then_on_and_said(tmp_path: Path) -> None:
    hosts = {"a": Answering(0.1, "context"), "b": Answering(0.2, "context", fails_at=2)}
    record = compared(hosts, 3, tmp_path)
    a, b = rows(record)
    assert a.per_s is not None
    assert b.per_s is not None
    assert (a.per_s.turns, b.per_s.turns, b.out) == (3, 1, "it died")


def test_answers_that_are_none_are_not_held_against_others(tmp_path: Path) -> None:
    record = compared({"bare": Answering(0.1, ""), "a": Answering(0.1, "context")}, 1, tmp_path)
    bare, a = rows(record)
    assert (bare.same, a.same) == (None, 100)


def test_aims_are_judged_by_what_was_measured() -> None:
    def trips(last: float) -> Record:
        value = {"trips_ms": [10.0] * 99 + [last], "alone_ms": [], "added_ms": []}
        value |= {"refused": 0, "cached": 0}
        return Record(about={"capacity_per_s": 10.0}, turns=[value] * 5)

    settings = {"threads": 2, "clients": 16, "load_share": 0.7}
    [good] = aims({"latency/default/1": trips(11.0)}, settings)
    [bad] = aims({"latency/default/1": trips(9000.0)}, settings)
    assert (good.reached, bad.reached) == (True, False)
    assert latency(trips(11.0), 0.7).asked_per_s == 7.0


@pytest.fixture
def model(tmp_path: Path) -> Model:
    for name in ("checkpoint", "int8", "fp32"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"0" * (1 << 20))
    folders = [tmp_path / name for name in ("checkpoint", "int8", "fp32")]
    return Model("default", "it", *folders, trained=True, digests=("a", "b"))


def settings(memory_mib: float) -> Settings:
    return Settings(
        minutes=1, threads=2, clients=16, block=16, share=0.7, seed=0, sections=["peers"],
        models=[], peers=["transformers", "transformers-padded"], turn_s=1, quick=False,
        memory_mib=memory_mib,
    )  # fmt: skip


def test_where_memory_is_small_the_peers_come_in_groups_with_ours_in_each(model: Model) -> None:
    [together] = lineups(model, settings(64 * 1024))
    first, second = lineups(model, settings(1024))
    ours = [side.key for side in own_sides("peers", model, settings(1024))]
    assert "int8-edgeqa-2" in ours
    assert [side.key for side in first] == ["transformers", *ours]
    assert [side.key for side in second] == ["transformers-padded", *ours]
    assert [side.key for side in together] == ["transformers", "transformers-padded", *ours]


# --- the command


def bench(*options: str, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "--output", str(output), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "benchmarks", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--only", "speed"], "--only speed: choose of peers, engine, broker"),
        (["--models", "gpt"], "--models gpt: choose of default, distilbert, bert-base"),
        (["--peers", "nobody"], "--peers nobody: choose of"),
        (["--data", "missing.json"], "missing.json"),
    ],
)
def test_bad_input_is_said_in_one_line(options: list[str], says: str, tmp_path: Path) -> None:
    process = bench(*options, output=tmp_path / "out")
    _, said = process.communicate(timeout=60)
    assert process.returncode in {2, 3}
    [line] = said.splitlines()
    assert says in line


@pytest.mark.system
def test_a_run_that_is_stopped_goes_on_and_reports(tmp_path: Path) -> None:
    options = ("--only", "start,broker", "--models", "default", "--threads", "1", "--turn-s", "0.2")
    options += ("--minutes", "0.1", "--clients", "2")
    state = tmp_path / "state.json"

    process = bench(*options, output=tmp_path)
    await_(lambda: state.exists() and len(turns(state)) > 0, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "goes on" in said
    assert "Traceback" not in said
    before = turns(state)

    process = bench(*options, output=tmp_path)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert turns(state)[: len(before)] == before
    assert "Not finished" not in out
    assert out.strip() == (tmp_path / "report.md").read_text().strip()
    document = json.loads((tmp_path / "report.json").read_text())
    [broker, start] = sorted(document["sections"], key=lambda section: section["section"])
    assert {row["key"] for row in broker["rows"]} >= {"int8-broker", "int8-edgeqa-1"}
    assert all(row["per_s"]["median"] > 0 and not row["out"] for row in broker["rows"])
    assert start["start"]["resident_mib"]["median"] > 50
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"broker-default{suffix}").stat().st_size > 1000

    process = bench(*options, "--seed", "1", output=tmp_path)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "seed changed" in said


def turns(state: Path) -> list[Any]:
    records = json.loads(state.read_text())["records"]
    return [turn for record in records.values() for turn in record["turns"]]


def await_(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
