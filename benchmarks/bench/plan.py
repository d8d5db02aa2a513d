"""What a run measures: its settings, its tasks, and how its time is shared out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import PEERS, Peer

import edgeqa
import edgeqa_agent
from bench.compare import Comparison
from bench.limiting import Limit
from bench.loaded import Load
from bench.machine import machine, versions
from bench.models import Model
from bench.questions import Questions
from bench.sides import BARE, BROKER, AgentHost, Host, PeerHost, Side
from bench.starting import Start
from bench.tasks import Task

# Whatever makes no use of the model's checkpoint and fp32 package.
ONLY_INT8 = ("start", "broker", "latency")
SECTIONS = ("peers", "engine", "broker", "latency", "limit", "start")
ENGINE = "edgeqa"
# Of the time, to each section and model: what a turn costs, and how much the figure varies.
_WEIGHTS = {
    "peers": {"default": 110, "distilbert": 260, "bert-base": 260},
    "engine": {"default": 40, "distilbert": 50, "bert-base": 50},
    "broker": {"default": 80, "distilbert": 80, "bert-base": 60},
    "latency": {"default": 80, "distilbert": 80, "bert-base": 60},
    "limit": {"default": 20, "distilbert": 40, "bert-base": 40},
    "start": {"default": 25, "distilbert": 25, "bert-base": 25},
}
_LEAST = {"peers": 3, "engine": 3, "broker": 3, "latency": 1, "limit": 1, "start": 1}
_MOST = {"peers": 200, "engine": 60, "broker": 60, "latency": 60, "limit": 60, "start": 7}
# A peer's process beside its weights: Python, torch or TensorFlow, and buffers.
_PEER_MIB, _WEIGHTS_TWICE = 500, 2
_MEMORY_SHARE = 0.6
# Of the limit: the usual length of a window of SQuAD, which is the one that the aim names.
_LENGTHS = (160,)
_TITLES = {
    "peers": "others",
    "engine": "engine alone",
    "broker": "through the broker",
    "latency": "latency under load",
    "limit": "limit",
    "start": "start and memory",
}


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        minutes: for all sections and models together, without opening them.
        block: questions of a turn of the peers.
        peers: names, or None for all that are there.
        sections, models: chosen.
        share: of the capacity, for the latency.
        turn_s: length of a turn of engine, broker and, five times that, latency.
        rounds: of the limit.
    """

    minutes: float
    threads: int
    clients: int
    block: int
    share: float
    seed: int
    sections: Sequence[str]
    models: Sequence[Model]
    peers: Sequence[str] | None
    turn_s: float
    rounds: int

    def budget_s(self, section: str, model: str) -> float:
        """The same whatever else is chosen, so that sections can be measured one by one."""
        whole = sum(sum(weights.values()) for weights in _WEIGHTS.values())
        return 60 * self.minutes * _WEIGHTS[section][model] / whole


def basis(settings: Settings, questions: Questions) -> dict[str, Any]:
    """What all figures of one report must have in common."""
    return {
        "machine": machine(),
        "versions": versions(),
        "code": _code(),
        "questions": {"name": questions.name, "fingerprint": questions.fingerprint},
        "threads": settings.threads,
        "clients": settings.clients,
        "block": settings.block,
        "load_share": settings.share,
        "seed": settings.seed,
    }


def plan(settings: Settings, questions: Questions, url: str, logs: Path) -> list[Task]:
    """The tasks; the longest section last."""
    make = _Maker(settings, questions, url, logs)
    return [
        task
        for section in reversed(SECTIONS)
        if section in settings.sections
        for model in settings.models
        for task in make.tasks(section, model)
    ]


class _Maker:
    def __init__(self, settings: Settings, questions: Questions, url: str, logs: Path) -> None:
        self._settings = settings
        self._questions = questions
        self._url = url
        self._logs = logs

    def tasks(self, section: str, model: Model) -> Iterator[Task]:
        settings = self._settings
        log = self._logs / f"agent-{section}-{model.name}.log"
        common = (settings.threads, self._questions, self._url, log, settings.clients)
        if section == "start":
            start = Start(model.int8, *common)
            yield self._task(section, model, [], start.open, opening_s=1)
        elif section == "latency":
            load = Load(model.int8, *common, settings.share, 5 * settings.turn_s, settings.seed)
            yield self._task(section, model, [], load.open, opening_s=10)
        elif section == "limit":
            packages = [path for path in (model.int8, model.fp32) if path]
            limit = Limit(packages, _LENGTHS, [1], settings.rounds, self._logs)
            yield self._task(section, model, [], limit.open, opening_s=20)
        elif section == "peers":
            for sides in self._chunks(model):
                yield self._comparison(section, model, sides, block=settings.block)
        else:
            yield self._comparison(section, model, _own_sides(section, model, settings))

    def _comparison(
        self, section: str, model: Model, sides: Sequence[Side], *, block: int | None = None
    ) -> Task:
        comparison = Comparison(
            sides=sides,
            questions=self._questions,
            hosts=lambda: self._hosts(sides, section, model),
            block=block,
            quickest=sides[0].key,
            # Sides of engine are many, and the slowest takes several times as long.
            turn_s=self._settings.turn_s / (2 if section == "engine" else 1),
            trained=model.trained,
        )
        processes = len({side.process for side in sides})
        opening_s = 3 + (8 * processes if section == "peers" else 2 * processes)
        return self._task(section, model, sides, comparison.open, opening_s=opening_s)

    def _hosts(self, sides: Sequence[Side], section: str, model: Model) -> Mapping[Any, Host]:
        hosts: dict[Any, Host] = {}
        for side in sides:
            if side.process in hosts:
                continue
            if side.peer == BROKER:
                log = self._logs / f"agent-{section}-{model.name}.log"
                example = self._questions.warm_up[0]
                hosts[side.process] = AgentHost(
                    side, self._settings.threads, log, self._url, example
                )
            else:
                hosts[side.process] = PeerHost(side, self._settings.threads, self._logs)
        return hosts

    def _chunks(self, model: Model) -> Iterator[list[Side]]:
        """All sides, in as many comparisons as memory asks for; ours are in each."""
        ours = _own_sides("peers", model, self._settings)
        room = _MEMORY_SHARE * machine()["memory_mib"] - sum(_mib(side) for side in ours)
        chunk: list[Side] = []
        taken = 0.0
        for peer in self._peers(model):
            sides = _peer_sides(peer, model, self._settings)
            if chunk and taken + _mib(sides[0]) > room:
                yield [*chunk, *ours]
                chunk, taken = [], 0.0
            chunk += sides
            taken += _mib(sides[0])
        if chunk:
            yield [*chunk, *ours]

    def _peers(self, model: Model) -> list[Peer]:
        wanted = self._settings.peers
        return [
            peer
            for name, peer in PEERS.items()
            if name != ENGINE
            and (wanted is None or name in wanted)
            and not peer.missing()
            and (peer.takes == "package" or model.checkpoint is not None)
        ]

    def _task(
        self, section: str, model: Model, sides: Sequence[Side], opened: Any, *, opening_s: float
    ) -> Task:
        digests = model.digests[:1] if section in ONLY_INT8 else model.digests
        names = [*digests, *(side.key for side in sides)]
        key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
        return Task(
            key=f"{section}/{model.name}/{key}",
            section=section,
            model=model.name,
            title=f"{_TITLES[section]}, {model.name}",
            about={
                "title": model.title,
                "trained": model.trained,
                "sides": [[side.key, side.title, side.at_once] for side in sides],
            },
            most=_MOST[section],
            least=_LEAST[section],
            budget_s=self._settings.budget_s(section, model.name),
            opening_s=opening_s,
            open=opened,
        )


def _own_sides(section: str, model: Model, settings: Settings) -> list[Side]:
    """EdgeQA's, and what it is compared with when it is alone."""
    cores = settings.threads
    ways = [(cores, f"{cores} questions at once")] if cores > 1 else []
    ways.append((1, "one question at a time"))
    sides = []
    for precision, package in (("int8", model.int8), ("fp32", model.fp32)):
        if package is None or (section == "broker" and precision != "int8"):
            continue
        if section in {"peers", "broker"} and precision == "int8":
            title = f"EdgeQA {precision} through the broker, {settings.clients} clients"
            sides.append(Side(f"{precision}-broker", title, BROKER, package, settings.clients))
        for peer, name in ((ENGINE, "EdgeQA"), (BARE.name, "bare onnxruntime")):
            if section == "peers" and peer == BARE.name:
                continue
            if section == "broker" and peer == BARE.name:
                ways = ways[:1]
            sides += [
                Side(
                    f"{precision}-{peer}-{at_once}",
                    f"{name} {precision}, {way}",
                    peer,
                    package,
                    at_once,
                )
                for at_once, way in ways
            ]
    return sides


def _peer_sides(peer: Peer, model: Model, settings: Settings) -> list[Side]:
    path = model.int8 if peer.takes == "package" else model.checkpoint
    assert path is not None
    sides = [Side(peer.name, peer.title, peer.name, path)]
    if peer.several:
        title = f"{peer.title}, {settings.clients} clients"
        sides.append(
            Side(f"{peer.name}-{settings.clients}", title, peer.name, path, settings.clients)
        )
    return sides


def _mib(side: Side) -> float:
    files = [path for path in side.model.iterdir() if path.is_file()]
    weights = sum(path.stat().st_size for path in files) / (1 << 20)
    return _PEER_MIB + _WEIGHTS_TWICE * weights


def _code() -> str:
    """Changes with the code that answers."""
    digest = hashlib.sha256()
    for package in (edgeqa, edgeqa_agent):
        for folder in package.__path__:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
