"""The sides of a comparison: ways to have a block of questions answered, that take turns.

Several sides may share a process: the same peer with one question at a time and with several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from peers import PEERS, Asked, Peer, PeerError, Worker

from bench.agents import running_agent
from bench.clients import Clients, FirstAnswer
from edgeqa.errors import DataError
from edgeqa.squad import Example

BARE = Peer(
    name="onnxruntime",
    title="bare onnxruntime",
    module="bare_onnxruntime",
    takes="package",
    several=True,
)
# The agent, asked over MQTT; not a peer, but asked in turns like one.
BROKER = "broker"
_AGENT_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Side:
    """One row of a table.

    Attributes:
        key: of its figures in the state.
        peer: that answers, or `BROKER`.
        model: package or checkpoint.
        at_once: questions open at the same time.
    """

    key: str
    title: str
    peer: str
    model: Path
    at_once: int = 1

    @property
    def process(self) -> tuple[str, Path]:
        """Sides of the same process have the same."""
        return self.peer, self.model


class Host(Protocol):
    """A process that answers blocks of questions."""

    def load(self) -> dict[str, Any]:
        """Make it ready; what it says of itself.

        Raises:
            PeerError, EdgeqaError: it does not get ready.
        """

    def ask(self, examples: Sequence[Example], at_once: int) -> Asked:
        """Have a block answered.

        Raises:
            PeerError, EdgeqaError: it is not.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class PeerHost:
    """A peer's worker."""

    def __init__(self, side: Side, threads: int, logs: Path) -> None:
        peer = BARE if side.peer == BARE.name else PEERS[side.peer]
        self._side = side
        self._threads = threads
        self._worker = Worker(peer, log=logs / f"{peer.name}.log")

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop()

    def load(self) -> dict[str, Any]:
        """As `Host.load`."""
        loaded = self._worker.load(self._side.model, threads=self._threads)
        return {"versions": loaded.versions, "settings": loaded.settings}

    def ask(self, examples: Sequence[Example], at_once: int) -> Asked:
        """As `Host.ask`."""
        asked = [{"id": e.id, "question": e.question, "context": e.context} for e in examples]
        return self._worker.ask(asked, at_once=at_once)


class AgentHost:
    """An agent behind a broker, and the clients that ask it."""

    def __init__(self, side: Side, threads: int, log: Path, url: str, example: Example) -> None:
        self._side = side
        self._threads = threads
        self._log = log
        self._url = url
        self._example = example
        self._stack = ExitStack()
        self._clients: dict[int, Clients] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def load(self) -> dict[str, Any]:
        """As `Host.load`."""
        agent = running_agent(self._url, self._side.model, self._threads, self._log)
        self._stack.enter_context(agent)
        with FirstAnswer(self._url) as first:
            first.wait(self._example, _AGENT_TIMEOUT_S)
        return {"versions": {}, "settings": f"{self._threads} threads; Mosquitto, QoS 1"}

    def ask(self, examples: Sequence[Example], at_once: int) -> Asked:
        """As `Host.ask`."""
        trips = self._of(at_once).ask(examples)
        refused = sorted({trip.error for trip in trips if trip.error})
        if refused:
            raise DataError(f"the agent refused questions: {', '.join(refused)}")
        if any(trip.cached for trip in trips):
            raise DataError("the agent answered from its cache, which is not what is measured")
        begun = min(trip.due_at for trip in trips)
        ended = max(trip.came_at for trip in trips)
        return Asked(ended - begun, {trip.id: trip.text for trip in trips}, 0)

    def _of(self, count: int) -> Clients:
        if count not in self._clients:
            self._clients[count] = self._stack.enter_context(Clients(self._url, count))
        return self._clients[count]


@contextmanager
def ready(
    sides: Sequence[Side], hosts: Mapping[tuple[str, Path], Host], warm_up: Sequence[Example]
) -> Iterator[tuple[dict[tuple[str, Path], dict[str, Any]], dict[str, str]]]:
    """All processes started, loaded and warmed up inside the block.

    Yields:
        what each process says of itself, and for each side that cannot take part, why.
    """
    said: dict[tuple[str, Path], dict[str, Any]] = {}
    out: dict[str, str] = {}
    with ExitStack() as stack:
        for process, host in hosts.items():
            own = [side for side in sides if side.process == process]
            try:
                stack.enter_context(host)
                said[process] = host.load()
                for side in own:
                    host.ask(warm_up[: max(4, side.at_once)], side.at_once)
            except (PeerError, DataError) as error:
                out.update({side.key: str(error) for side in own})
        yield said, out
