"""What is saved by what is kept: texts as tokens, and answers. All sides take turns in one run.

    python benchmarks/caches.py --data SQUAD.json

Parts: `tokens` cuts question and text into windows, as `tokenizers` does it for the pair, and from
tokens of the text that are made or kept; `engine` asks all questions of some paragraphs, with texts
kept and without; `offer` is the time of the agent's main process for a question that is known, or
not; `broker` asks a whole agent, with answers kept and without.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from crowd import Crowd
from rich.console import Console
from rich.progress import track
from tokenizers import Encoding, Tokenizer

from edgeqa.manifest import TOKENIZER_FILE, Package, open_package
from edgeqa.messages import ModelRef
from edgeqa.processes import broker_process, own_process
from edgeqa.reader.engine import Engine
from edgeqa.reader.windows import Windower, WindowSizes
from edgeqa.squad import Example, read_squad
from edgeqa_agent.answer_cache import AnswerCache
from edgeqa_agent.answer_cache_store import KeptAnswers
from edgeqa_agent.jobs import Outcome, Task
from edgeqa_agent.request import Request
from edgeqa_agent.settings import default_package

_CLIENTS = 16
_BLOCK = 48  # questions of a turn through the broker
_QUESTION = "How many questions does it answer at once?"
_LENGTHS = (200, 700, 2_000, 8_000, 20_000, 100_000)
_PARTS = ("tokens", "engine", "offer", "broker")

Sides = Mapping[str, Callable[[], object]]


def main(
    data: Annotated[Path, typer.Option(help="Questions, SQuAD JSON.")],
    package: Annotated[Path | None, typer.Option(help="The default package if not said.")] = None,
    part: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(_PARTS)}; all.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Turns of each side.")] = 15,
    threads: Annotated[int, typer.Option(min=0, help="Of the model; 0: all cores.")] = 0,
) -> None:
    """Measure and print."""
    wanted = part or list(_PARTS)
    if unknown := set(wanted) - set(_PARTS):
        raise typer.BadParameter(f"{', '.join(unknown)}: no part; there are {', '.join(_PARTS)}")
    opened = open_package(package or default_package())
    examples = read_squad(data)
    say = Console(highlight=False, width=200).print
    cores = len(os.sched_getaffinity(0))
    say(f"{opened.path.name}, {cores} cores of {_processor()}, {platform.machine()}")
    for name in wanted:
        if name == "tokens":
            _tokens(opened, examples, rounds, say)
        elif name == "engine":
            _engine(opened, examples, rounds, threads or cores, say)
        elif name == "offer":
            _offer(examples, rounds, say)
        else:
            _broker(opened, examples, rounds, threads or cores, say)


def _tokens(
    package: Package, examples: Sequence[Example], rounds: int, say: Callable[..., None]
) -> None:
    sizes = package.manifest.sizes
    bounds = WindowSizes(sizes.max_seq_len, sizes.doc_stride, sizes.max_question_tokens)
    file = str(package.file(TOKENIZER_FILE))
    pair = Tokenizer.from_file(file)
    pair.no_padding()
    pair.enable_truncation(bounds.max_seq_len, stride=bounds.doc_stride, strategy="only_second")
    anew = Windower(tokenizer=Tokenizer.from_file(file), sizes=bounds, context_bytes=0)
    kept = Windower(tokenizer=Tokenizer.from_file(file), sizes=bounds)
    whole = " ".join(dict.fromkeys(example.context for example in examples))
    say("\n| text, characters | windows | pair, ms | apart, ms | kept, ms | kept of pair |")
    say("|---|---|---|---|---|---|")
    for length in _LENGTHS:
        text = whole[:length]
        times = _turns(
            {
                "pair": lambda text=text: _as_the_pair(pair, text),  # type: ignore[misc]
                "anew": lambda text=text: _feed(anew, text),  # type: ignore[misc]
                "kept": lambda text=text: _feed(kept, text),  # type: ignore[misc]
            },
            rounds * 4,
            repeat=max(1, 20_000 // length),
        )
        ratios = [k / p for k, p in zip(times["kept"], times["pair"], strict=True)]
        cells = [f"{1000 * statistics.median(times[side]):.3f}" for side in times]
        windows = len(kept.cut(_QUESTION, text))
        say(f"| {length:,} | {windows} | {' | '.join(cells)} | {_spread(ratios)} |")


def _as_the_pair(tokenizer: Tokenizer, text: str) -> list[list[object]]:
    first = tokenizer.encode(_QUESTION, text)
    windows: list[Encoding] = [first, *first.overflowing]
    return [
        [np.array([column], np.int64) for column in (w.ids, w.attention_mask, w.type_ids)]
        for w in windows
    ]


def _feed(windower: Windower, text: str) -> list[list[object]]:
    windows = windower.cut(_QUESTION, text)
    return [[w.ids[None], w.attention_mask[None], w.type_ids[None]] for w in windows]


def _engine(
    package: Package,
    examples: Sequence[Example],
    rounds: int,
    threads: int,
    say: Callable[..., None],
) -> None:
    engines = {
        "anew": Engine.load(package, threads=threads, context_bytes=0),
        "kept": Engine.load(package, threads=threads),
    }
    blocks = [examples[begin : begin + 24] for begin in range(0, 24 * rounds, 24)]
    times: dict[str, list[float]] = {"anew": [], "kept": []}
    same = True
    for number, block in enumerate(track(blocks, "engine")):
        answers = {}
        for side in sorted(engines, reverse=number % 2 == 1):
            engine, begun = engines[side], time.perf_counter()
            answers[side] = [engine.answer(e.question, e.context).spans for e in block]
            times[side].append((time.perf_counter() - begun) / len(block))
        same &= answers["anew"] == answers["kept"]
    ratios = [a / k for a, k in zip(times["anew"], times["kept"], strict=True)]
    say(
        f"\nengine, {threads} threads, all questions of a paragraph after each other: "
        f"{1000 * statistics.median(times['anew']):.2f} ms a question, "
        f"{1000 * statistics.median(times['kept']):.2f} with texts kept; "
        f"{_spread(ratios)} times as quick; answers {'the same' if same else 'DIFFER'}"
    )


def _offer(examples: Sequence[Example], rounds: int, say: Callable[..., None]) -> None:
    whole = " ".join(dict.fromkeys(example.context for example in examples))
    model = ModelRef(name="m", version="1", digest="sha256:m")
    outcome = Outcome([("an answer", 10, 19, 0.5)], 0.1, 1, 9.0)

    def answer(request: Request) -> bool:
        request.complete([outcome for _ in request.tasks], 0.0, model)
        return True

    cache = AnswerCache(
        offer=answer,
        expect=lambda _: model,
        kept=KeptAnswers(most_entries=1024, most_bytes=4 << 20),
        most_followers=64,
    )
    numbers = count()
    say("\n| text, characters | no cache, us | not known, us | known, us |")
    say("|---|---|---|---|")
    for length in (700, 20_000, 100_000):
        text = whole[:length]

        def request(question: str, text: str = text) -> Request:
            return Request([Task(question, text, 1)], None, lambda *_: None)

        cache.offer(request("known"))
        times = _turns(
            {
                "none": lambda: answer(request("known")),
                "new": lambda: cache.offer(request(f"new {next(numbers)}")),
                "known": lambda: cache.offer(request("known")),
            },
            rounds * 4,
            repeat=200,
        )
        cells = [f"{1e6 * statistics.median(times[side]):.1f}" for side in times]
        say(f"| {length:,} | {' | '.join(cells)} |")


def _broker(
    package: Package,
    examples: Sequence[Example],
    rounds: int,
    threads: int,
    say: Callable[..., None],
) -> None:
    payloads = [
        json.dumps({"question": e.question, "context": e.context}).encode() for e in examples
    ]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(broker_process(folder, 0))
        crowds = {}
        for side, entries in (("off", 0), ("on", 1024)):
            stack.enter_context(_agent(folder, url, package, threads, side, entries))
            crowds[side] = stack.enter_context(Crowd(url, side, _CLIENTS))
            crowds[side].wait_online(payloads[-1], timeout_s=60)
        say(f"\nthrough the broker, {_CLIENTS} clients, {threads} threads, questions a second:\n")
        say("| asked | off | on | on of off | kept answers |")
        say("|---|---|---|---|---|")
        fresh = count(0, _BLOCK)  # where the questions of a turn begin: no other had them
        for repeats, label in ((1, "each once"), (2, "each twice"), (8, "each 8 times")):
            rates: dict[str, list[float]] = {"off": [], "on": []}
            known = 0
            for number in track(range(rounds), label):
                first = next(fresh) % (len(payloads) - _BLOCK)
                block = payloads[first : first + _BLOCK // repeats] * repeats
                for side in sorted(crowds, reverse=number % 2 == 1):
                    begun = time.perf_counter()
                    came = crowds[side].ask(block)
                    rates[side].append(len(block) / (time.perf_counter() - begun))
                    if side == "on":
                        known += sum(one.answer.get("cached") is True for one in came)
            ratios = [on / off for on, off in zip(rates["on"], rates["off"], strict=True)]
            share = known / (rounds * (_BLOCK // repeats) * repeats)
            off, on = (statistics.median(rates[side]) for side in ("off", "on"))
            say(f"| {label} | {off:.1f} | {on:.1f} | {_spread(ratios)} | {share:.0%} |")


@contextmanager
def _agent(
    folder: Path, url: str, package: Package, threads: int, device: str, entries: int
) -> Iterator[None]:
    settings = {
        "broker": url,
        "device": device,
        "package": package.path,
        "threads": threads,
        "state_dir": folder / device,
        "answer_cache_entries": entries,
    }
    environment = {f"EDGEQA_AGENT_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "edgeqa.cli", "agent", "run"]
    with own_process(command, folder / f"{device}.log", environment):
        yield


def _turns(sides: Sides, rounds: int, *, repeat: int) -> dict[str, list[float]]:
    """Seconds of each side, which take turns; the first turn of each counts for nothing."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, work in sides.items():
            begun = time.perf_counter()
            for _ in range(repeat):
                work()
            if number:
                times[side].append((time.perf_counter() - begun) / repeat)
    return times


def _spread(ratios: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "an unnamed processor"


if __name__ == "__main__":
    typer.run(main)
