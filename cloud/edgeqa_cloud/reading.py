"""What a message says, or why it cannot be stored. Pure: no database, no clock.

A refused message is worth a row in quarantine. Where it is a record whose boot and `seq` can be
read in spite of all, that record counts as come: it is not asked for again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from edgeqa.acks import Receipt
from edgeqa.errors import PayloadError
from edgeqa.messages import Status, Wire, parse_payload
from edgeqa.model_messages import Reported
from edgeqa.telemetry_messages import MAX_INT, Evaluation, Heartbeat, SwapReport, Telemetry
from edgeqa.topics import ROOT, Kind, is_name
from edgeqa_cloud.quick import Decode, decoder

_DEVICES = f"{ROOT}/devices/"
# Agents write these among the first fields; what else a broken message holds does not matter.
_HEAD_BYTES = 4096
_BOOT_ID = re.compile(rb'"boot_id"\s*:\s*"([A-Za-z0-9][A-Za-z0-9._-]{0,63})"')
_SEQ = re.compile(rb'"seq"\s*:\s*([1-9][0-9]{0,15})\s*[,}]')
# PostgreSQL's text holds any character but this one; the payload keeps it, as an escape.
_NUL = "\0"
# Columns of these are so wide; fields that the contract leaves open must still fit.
_MAX_NAME = 64
_MAX_DIGEST = 80

_BODIES: dict[str, type[Wire]] = {
    Kind.TELEMETRY: Telemetry,
    Kind.EVALUATION: Evaluation,
    Kind.SWAP: SwapReport,
    Kind.HEARTBEAT: Heartbeat,
    Kind.STATUS: Status,
    Kind.REPORTED: Reported,
}
# Nearly all messages are of these.
_QUICK: dict[str, Decode] = {
    Kind.TELEMETRY: decoder(Telemetry),
    Kind.HEARTBEAT: decoder(Heartbeat),
}
RECORD_TOPICS = frozenset({Kind.TELEMETRY, Kind.EVALUATION, Kind.SWAP})
_RETAINED = frozenset({Kind.STATUS, Kind.REPORTED})


@dataclass(slots=True)  # not frozen: making a frozen one takes three times as long
class Arrival:
    """A message as it came; nobody changes it.

    Attributes:
        payload: its first bytes, if it is larger than any that is stored.
        size: bytes of the whole.
        received_ms: by our clock.
        receipt: what to acknowledge; None for one that came another way.
        judgement: what `read` said of it, where that was asked before its batch; None: not yet,
            or nothing. A message points back at its arrival, so whoever is done takes it away.
    """

    topic: str
    payload: bytes
    size: int
    received_ms: int
    receipt: Receipt | None = None
    judgement: Message | Refused | None = None


@dataclass(slots=True)  # not frozen, as above
class Message:
    """A message that says what it should."""

    arrival: Arrival
    kind: Kind
    device: str
    body: Any
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A message for quarantine; of a record with its boot and `seq` where they can be read."""

    arrival: Arrival
    code: str
    reason: str
    device: str | None = None
    boot_id: str | None = None
    seq: int | None = None

    @property
    def topic_kind(self) -> str:
        """What follows the device in its topic."""
        return self.arrival.topic.removeprefix(_DEVICES).partition("/")[2]


def read(arrival: Arrival, *, most_bytes: int) -> Message | Refused | None:
    """Judge a message; None for one that says nothing, such as a status that was deleted."""
    device, _, rest = arrival.topic.removeprefix(_DEVICES).partition("/")
    if rest not in _BODIES or not is_name(device) or not arrival.topic.startswith(_DEVICES):
        return Refused(arrival, "unknown_topic", "no topic of a device that is collected")
    kind = Kind(rest)
    if not arrival.payload and kind in _RETAINED:
        return None
    try:
        body = _parse(arrival, kind, device, most_bytes)
        if kind in _RETAINED:
            _check_widths(body)
    except PayloadError as error:
        return refuse(arrival, kind, device, error.code, str(error))
    return Message(arrival, kind, device, body, arrival.payload.decode())


def judge_ahead(arrival: Arrival, *, most_bytes: int) -> Message | Refused | None:
    """As `read`, before anybody needs it: if that fails, it is the writer's to find out why."""
    try:
        return read(arrival, most_bytes=most_bytes)
    except Exception:  # noqa: BLE001  the writer reads it again, and puts what fails into quarantine
        return None


def parse_telemetry(payload: bytes) -> Any:
    """A `Telemetry`, or an object like one, of a payload that was stored.

    Raises:
        PayloadError: it is none.
    """
    return _parsed(Kind.TELEMETRY, payload, len(payload))


def _parsed(kind: Kind, payload: bytes, most_bytes: int) -> Any:
    quick = _QUICK.get(kind)
    body = None if quick is None else quick(payload)
    return parse_payload(_BODIES[kind], payload, most_bytes=most_bytes) if body is None else body


def _parse(arrival: Arrival, kind: Kind, device: str, most_bytes: int) -> Any:
    if arrival.size > most_bytes:
        raise PayloadError(
            f"{arrival.size} bytes; at most {most_bytes} are taken", code="payload_too_large"
        )
    body = _parsed(kind, arrival.payload, most_bytes)
    if body.device != device:
        raise PayloadError(f"the payload says {body.device!r:.80}", code="device_mismatch")
    return body


def refuse(arrival: Arrival, kind: Kind, device: str, code: str, reason: str) -> Refused:
    """For quarantine."""
    boot_id = seq = None
    if kind in RECORD_TOPICS and code != "device_mismatch":
        boot_id, seq = _identity(arrival.payload[:_HEAD_BYTES])
    return Refused(arrival, code, clean(reason), device, boot_id, seq)


def clean(text: str) -> str:
    """Text that every database takes: without NUL, and without halves of surrogate pairs."""
    if _NUL in text:
        text = text.replace(_NUL, "\N{REPLACEMENT CHARACTER}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def as_json(value: Any) -> str | None:
    """A value for a JSON column; None stays None.

    Raises:
        PayloadError: it holds a number that JSON has not.
    """
    if value is None:
        return None
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="python", exclude_none=True, by_alias=True)
    try:
        text = json.dumps(value, allow_nan=False, default=str)
    except ValueError as error:
        raise PayloadError(str(error)) from error
    # PostgreSQL keeps the escape, and then cannot read the value that holds it.
    return json.dumps(_without_nul(value), default=str) if "\\u0000" in text else text


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): _without_nul(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nul(one) for one in value]
    return value


def _identity(head: bytes) -> tuple[str | None, int | None]:
    boot_id, seq = _BOOT_ID.search(head), _SEQ.search(head)
    if boot_id is None or seq is None or int(seq[1]) > MAX_INT:
        return None, None
    return boot_id[1].decode(), int(seq[1])


def _check_widths(body: Any) -> None:
    """Presence and reports leave the length of most names open."""
    model = getattr(body, "active", None) or getattr(body, "model", None)
    texts = {
        "boot_id": body.boot_id,
        "reason": getattr(body, "reason", None) if isinstance(body, Status) else None,
        "agent_version": getattr(body, "agent_version", None),
        "onnxruntime_version": getattr(body, "onnxruntime_version", None),
        "model.name": getattr(model, "name", None),
        "model.version": getattr(model, "version", None),
    }
    for name, text in texts.items():
        if text is not None and len(text) > _MAX_NAME:
            raise PayloadError(f"{name}: longer than {_MAX_NAME} characters")
    if model is not None and len(model.digest) > _MAX_DIGEST:
        raise PayloadError(f"model.digest: longer than {_MAX_DIGEST} characters")
    _check_boot(body.boot_id)
    as_json(body)


def _check_boot(boot_id: str | None) -> None:
    if boot_id is not None and not is_name(boot_id):
        raise PayloadError("boot_id: no name")
