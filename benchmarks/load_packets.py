"""Telemetry as MQTT packets, made quickly: templates of full records with a few fields filled in.

The fields have a fixed width, so that a packet is a join of pieces and its length never changes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from edgeqa.histogram import Histogram
from edgeqa.telemetry_examples import TELEMETRY
from edgeqa.topics import DeviceTopics

# Ten digits whatever the number, as JSON allows no leading zeros.
FIRST_SEQ = 1_000_000_001
_UPTIME_MS = 1_000_000_000
# Median of each part, milliseconds; of a small model on a Raspberry Pi 5.
_PARTS = {
    "queue": 0.4, "tokenise": 0.6, "inference": 21.0, "decode": 0.3, "publish": 2.0, "total": 24.0,
}  # fmt: skip
_SEQ, _TIME, _UPTIME = "1111111111", "2222222222222", "3333333333"


@dataclass(frozen=True, slots=True)
class Template:
    """A PUBLISH at QoS 1 in pieces: between them go packet id, seq, time and uptime."""

    head: bytes
    pieces: tuple[bytes, bytes, bytes, bytes]


def payload(device: str, boot_id: str, rng: random.Random) -> dict[str, object]:
    """One minute of a device that answered some tens of questions."""
    answered = rng.randint(20, 90)
    record = dict(TELEMETRY["serving"])
    record |= {
        "device": device,
        "boot_id": boot_id,
        "outcomes": {"answered": answered, "unknown_context": 1},
        "latency": {
            part: Histogram.of(
                rng.lognormvariate(0, 0.35) * median for _ in range(answered)
            ).model_dump()
            for part, median in _PARTS.items()
        },
        "batch": Histogram.of([1.0] * answered).model_dump(),
        "cpu_load": round(rng.random(), 3),
        "temperature_celsius": round(rng.uniform(45, 70), 1),
    }
    return record


def templates(devices: int, boot_id: str, *, seed: int) -> list[Template]:
    """Of as many devices."""
    rng = random.Random(seed)
    return [_template(f"load-{number:05}", boot_id, rng) for number in range(devices)]


def packets(made: list[Template], *, time_ms: int) -> Iterator[tuple[int, Template, bytes]]:
    """Endless records, device after device, each a minute after its last: (seq, template, tail)."""
    seq = FIRST_SEQ
    while True:
        lap = seq - FIRST_SEQ
        fields = (
            str(seq).encode(),
            str(time_ms + lap).encode(),
            str(_UPTIME_MS + lap).encode(),
        )
        for template in made:
            a, b, c, d = template.pieces
            yield seq, template, b"".join((a, fields[0], b, fields[1], c, fields[2], d))
        seq += 1


def _template(device: str, boot_id: str, rng: random.Random) -> Template:
    record = payload(device, boot_id, rng)
    record |= {"seq": int(_SEQ), "time_ms": int(_TIME), "uptime_ms": int(_UPTIME)}
    text = json.dumps(record, separators=(",", ":"))
    first, rest = text.split(_SEQ)
    second, rest = rest.split(_TIME)
    third, fourth = rest.split(_UPTIME)
    topic = DeviceTopics(device).record("telemetry").encode()
    # MQTT 3.1.1: topic, packet id, payload.
    body = 2 + len(topic) + 2 + len(text)
    head = b"\x32" + variable_byte_integer(body) + len(topic).to_bytes(2, "big") + topic
    return Template(head, (first.encode(), second.encode(), third.encode(), fourth.encode()))


def variable_byte_integer(size: int) -> bytes:
    """A variable byte integer. MQTT 5, section 1.5.5."""
    out = bytearray()
    while True:
        size, digit = divmod(size, 128)
        out.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(out)
