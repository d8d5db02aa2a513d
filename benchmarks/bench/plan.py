"""What a run measures: its tasks, and what all of them have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import edgeqa
import edgeqa_agent
from bench.compare import Comparison
from bench.limiting import Limit
from bench.lineup import lineups, own_sides
from bench.loaded import Load
from bench.machine import machine, versions
from bench.models import Model
from bench.questions import Questions
from bench.settings import Settings
from bench.sides import BROKER, AgentHost, Host, PeerHost, Side
from bench.starting import Start
from bench.tasks import Task

# Whatever makes no use of the model's checkpoint and fp32 package.
ONLY_INT8 = ("start", "broker", "latency")
SECTIONS = ("peers", "engine", "broker", "latency", "limit", "start")
_LEAST = {"peers": 3, "engine": 3, "broker": 3, "latency": 1, "limit": 1, "start": 1}
_QUICK_LEAST = 2
_MOST = {"peers": 200, "engine": 60, "broker": 60, "latency": 60, "limit": 1, "start": 7}
# Of the limit: the usual length of a window of SQuAD, which is the one that the aim names.
_LENGTHS = (160,)
_ROUNDS, _QUICK_ROUNDS = 9, 3
_TITLES = {
    "peers": "others",
    "engine": "engine alone",
    "broker": "through the broker",
    "latency": "latency under load",
    "limit": "limit",
    "start": "start and memory",
}


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
            packages = (
                [model.int8] if settings.quick or not model.fp32 else [model.int8, model.fp32]
            )
            rounds = _QUICK_ROUNDS if settings.quick else _ROUNDS
            limit = Limit(packages, _LENGTHS, [1], rounds, self._logs)
            how = f"{len(packages)} packages, {rounds} rounds"
            yield self._task(section, model, [], limit.open, opening_s=20, how=how)
        elif section == "peers":
            groups = list(lineups(model, settings))
            for sides in groups:
                yield self._comparison(
                    section, model, sides, block=settings.block, groups=len(groups)
                )
        else:
            yield self._comparison(section, model, own_sides(section, model, settings))

    def _comparison(
        self,
        section: str,
        model: Model,
        sides: Sequence[Side],
        *,
        block: int | None = None,
        groups: int = 1,
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
        return self._task(
            section, model, sides, comparison.open, opening_s=opening_s, groups=groups
        )

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

    def _task(
        self,
        section: str,
        model: Model,
        sides: Sequence[Side],
        opened: Any,
        *,
        opening_s: float,
        how: str = "",
        groups: int = 1,
    ) -> Task:
        digests = model.digests[:1] if section in ONLY_INT8 else model.digests
        names = [*digests, *(side.key for side in sides), how]
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
            least=min(_LEAST[section], _QUICK_LEAST) if self._settings.quick else _LEAST[section],
            budget_s=self._settings.budget_s(section, model.name) / groups,
            opening_s=opening_s,
            open=opened,
        )


def _code() -> str:
    """Changes with the code that answers."""
    digest = hashlib.sha256()
    for package in (edgeqa, edgeqa_agent):
        for folder in package.__path__:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
