"""A comparison: all sides answer the same block of questions, one after the other, turn by turn.

Each turn another side begins, so that what else the machine does hits all alike. The ratio of two
sides is taken within a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from peers import Asked, PeerError

from bench.questions import Questions
from bench.sides import Host, Side, ready
from bench.tasks import Turn
from edgeqa.errors import DataError
from edgeqa.squad import Example, best, exact, f1

MakeHosts = Callable[[], Mapping[tuple[str, Any], Host]]


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        sides: rows; the answers of the others are held against those of the first that gives any.
        block: questions of a turn; None: as many as `quickest` answers in `turn_s`.
        quickest: key of the side that says how large a block is.
        trained: whether answers mean anything.
        hosts: makes the processes, by `Side.process`.
    """

    sides: Sequence[Side]
    questions: Questions
    hosts: MakeHosts
    block: int | None = None
    quickest: str = ""
    turn_s: float = 2.0
    trained: bool = False

    @contextmanager
    def open(self, about: dict[str, Any]) -> Iterator[Turn]:
        """Start all processes; what they say goes into `about`."""
        hosts = self.hosts()
        with ready(self.sides, hosts, self.questions.warm_up) as (said, out):
            about["said"] = {s.key: said[s.process] for s in self.sides if s.process in said}
            about["out"] = out
            playing = [side for side in self.sides if side.key not in out]
            if len(playing) < 2:
                raise DataError("; ".join(out.values()) or "there is nothing to compare")
            if "block" not in about:
                about["block"] = self.block or self._block(playing, hosts)

            def turn(before: list[dict[str, Any]]) -> dict[str, Any]:
                begin = sum(value["questions"] for value in before)
                examples = self.questions.block(begin, about["block"])
                first = len(before) % len(self.sides)
                taken: dict[str, Asked] = {}
                for side in [*self.sides[first:], *self.sides[:first]]:
                    if side.key in out:
                        continue
                    try:
                        taken[side.key] = hosts[side.process].ask(examples, side.at_once)
                    except (PeerError, DataError) as error:
                        out[side.key] = str(error)
                return self._value(examples, taken)

            yield turn

    def _block(self, sides: Sequence[Side], hosts: Mapping[tuple[str, Any], Host]) -> int:
        side = next((side for side in sides if side.key == self.quickest), sides[0])
        count = 4 * side.at_once
        seconds = hosts[side.process].ask(self.questions.block(0, count), side.at_once).seconds
        return max(count, round(self.turn_s * count / seconds))

    def _value(self, examples: Sequence[Example], taken: dict[str, Asked]) -> dict[str, Any]:
        value: dict[str, Any] = {
            "questions": len(examples),
            "seconds": {key: round(asked.seconds, 6) for key, asked in taken.items()},
        }
        answering = {
            key: asked.answers for key, asked in taken.items() if any(asked.answers.values())
        }
        reference = next((s.key for s in self.sides if s.key in answering), None)
        if reference is not None:
            value["same_as"] = reference
            value["same"] = {
                key: sum(answers[e.id] == answering[reference][e.id] for e in examples)
                for key, answers in answering.items()
            }
        if self.trained:
            scored = [example for example in examples if example.answers]
            value["scored"] = len(scored)
            for name, metric in (("em", exact), ("f1", f1)):
                value[name] = {
                    key: round(sum(best(metric, e.answers, answers[e.id]) for e in scored), 4)
                    for key, answers in answering.items()
                }
        return value
