"""Which sides a comparison has: EdgeQA's own, and others as far as memory goes."""

from __future__ import annotations

from collections.abc import Iterator

from peers import PEERS, Peer

from bench.models import Model
from bench.settings import Settings
from bench.sides import BARE, BROKER, Side

ENGINE = "edgeqa"
# A peer's process beside its weights: Python, torch or TensorFlow, and buffers.
_PEER_MIB, _WEIGHTS_TWICE = 500, 2
_MEMORY_SHARE = 0.7


def lineups(model: Model, settings: Settings) -> Iterator[list[Side]]:
    """Others and ours, in as many comparisons as memory asks for; ours are in each."""
    ours = own_sides("peers", model, settings)
    processes = {side.process: _mib(side) for side in ours}
    room = _MEMORY_SHARE * settings.memory_mib - sum(processes.values())
    chunk: list[Side] = []
    taken = 0.0
    for peer in _peers(model, settings):
        sides = _peer_sides(peer, model, settings)
        if chunk and taken + _mib(sides[0]) > room:
            yield [*chunk, *ours]
            chunk, taken = [], 0.0
        chunk += sides
        taken += _mib(sides[0])
    if chunk:
        yield [*chunk, *ours]


def own_sides(section: str, model: Model, settings: Settings) -> list[Side]:
    """EdgeQA's, and what it is compared with when it is alone."""
    cores = settings.threads
    ways = [(cores, f"{cores} questions at once")] if cores > 1 else []
    ways.append((1, "one question at a time"))
    sides = []
    for precision, package in (("int8", model.int8), ("fp32", model.fp32)):
        if package is None or (precision != "int8" and (section == "broker" or settings.quick)):
            continue
        if section in {"peers", "broker"} and precision == "int8":
            title = f"EdgeQA {precision} through the broker, {settings.clients} clients"
            sides.append(Side(f"{precision}-broker", title, BROKER, package, settings.clients))
        for peer, name in ((ENGINE, "EdgeQA"), (BARE.name, "bare onnxruntime")):
            if section == "peers" and peer == BARE.name:
                continue
            chosen = ways[:1] if section == "broker" and peer == BARE.name else ways
            sides += [
                Side(
                    f"{precision}-{peer}-{at_once}",
                    f"{name} {precision}, {way}",
                    peer,
                    package,
                    at_once,
                )
                for at_once, way in chosen
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


def _peers(model: Model, settings: Settings) -> list[Peer]:
    return [
        peer
        for name, peer in PEERS.items()
        if name != ENGINE
        and (settings.peers is None or name in settings.peers)
        and not peer.missing()
        and (peer.takes == "package" or model.checkpoint is not None)
    ]
