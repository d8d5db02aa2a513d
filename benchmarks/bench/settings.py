"""What the command line says of a run, and how its time is shared out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.models import Model

# Of the time, to each section and model: what a turn costs, and how much the figure varies.
_WEIGHTS = {
    "peers": {"default": 110, "distilbert": 260, "bert-base": 260},
    "engine": {"default": 40, "distilbert": 50, "bert-base": 50},
    "broker": {"default": 80, "distilbert": 80, "bert-base": 60},
    "latency": {"default": 80, "distilbert": 80, "bert-base": 60},
    "limit": {"default": 20, "distilbert": 40, "bert-base": 40},
    "start": {"default": 25, "distilbert": 25, "bert-base": 25},
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
        memory_mib: of the machine; peers that do not fit into it together come in groups.
        quick: few turns, whatever they say.
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
    quick: bool
    memory_mib: float

    def budget_s(self, section: str, model: str) -> float:
        """The same whatever else is chosen, so that sections can be measured one by one."""
        whole = sum(sum(weights.values()) for weights in _WEIGHTS.values())
        return 60 * self.minutes * _WEIGHTS[section][model] / whole
