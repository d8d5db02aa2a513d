"""The quick way judges as pydantic does: it takes nothing more, and gives the same values."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from edgeqa.telemetry_examples import HEARTBEATS, TELEMETRY
from edgeqa.telemetry_messages import Heartbeat, Telemetry
from edgeqa_cloud.quick import decoder
from edgeqa_cloud.reading import parse_telemetry

CASES = [
    (Telemetry, TELEMETRY["serving"]),
    (Heartbeat, HEARTBEATS["heartbeat"]),
    (Heartbeat, HEARTBEATS["afterConnect"]),
]
QUICK = {Telemetry: decoder(Telemetry), Heartbeat: decoder(Heartbeat)}

HOSTILE = [
    None, True, False, 0, -1, 1.5, -0.0, 10**18, 2**53, 2**53 - 1, 2**64, 10**400, 1e308, "", "a",
    "a\n", "pi5\n", "\0", "ü", "<script>", "' OR 1=1 --", "x" * 65, "5", "5.0", [], [1], [[]], {},
    {"a": 1}, {"": 1}, {"a\n": 1}, ["throttled\n"], {"scale": 3},
]  # fmt: skip


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(node, dict):
        return found + [one for key, value in node.items() for one in paths(value, (*path, key))]
    if isinstance(node, list):
        return found + [one for at, value in enumerate(node) for one in paths(value, (*path, at))]
    return found


def changed(example: Any, path: tuple[Any, ...], value: Any, *, drop: bool = False) -> bytes:
    made = copy.deepcopy(example)
    node = made
    for step in path[:-1]:
        node = node[step]
    if drop:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return json.dumps(made).encode()


def plain(body: Any) -> Any:
    """Attributes by name, all the way down."""
    if isinstance(body, dict):
        return {key: plain(value) for key, value in body.items()}
    if isinstance(body, list):
        return [plain(one) for one in body]
    names = getattr(type(body), "model_fields", None) or getattr(body, "__struct_fields__", None)
    return {name: plain(getattr(body, name)) for name in names} if names else body


def judge(kind: type[BaseModel], payload: bytes) -> bool:
    """Whether the quick way takes it; if so, pydantic must, with the same values."""
    quick = QUICK[kind](payload)
    if quick is None:
        return False
    assert plain(quick) == plain(kind.model_validate_json(payload)), payload
    return True


@pytest.mark.parametrize(("kind", "example"), CASES)
def test_good_messages_take_the_quick_way(kind: type[BaseModel], example: Any) -> None:
    assert judge(kind, json.dumps(example).encode())
    assert judge(kind, json.dumps(example | {"of_a_later_version": [{"x": None}]}).encode())


@pytest.mark.parametrize(("kind", "example"), CASES)
def test_it_takes_nothing_that_pydantic_refuses(kind: type[BaseModel], example: Any) -> None:
    taken = refused = 0
    for path in paths(example):
        payloads = [changed(example, path, value) for value in HOSTILE]
        payloads.append(changed(example, path, None, drop=True))
        for payload in payloads:
            if judge(kind, payload):
                taken += 1
            else:
                refused += 1
    assert taken > 10
    assert refused > taken


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(paths(TELEMETRY["serving"])),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=8,
    ),
)
def test_nor_anything_else(path: tuple[Any, ...], value: Any) -> None:
    judge(Telemetry, changed(TELEMETRY["serving"], path, value))


@pytest.mark.parametrize(
    "tail",
    [b'"\\ud800"', b"nul", b"NaN", b"01", b'"\xff"', b'{"a":1,}', b"[" * 3000, b'"\n"', b"1e999"],
)
def test_what_is_skipped_must_be_json_too(tail: bytes) -> None:
    """Or whoever reads the stored payload later must take the quick way too, as roll-ups do."""
    payload = json.dumps(TELEMETRY["serving"]).encode()[:-1] + b', "later": ' + tail + b"}"
    if QUICK[Telemetry](payload) is not None:
        assert parse_telemetry(payload).seq == TELEMETRY["serving"]["seq"]
        assert tail in {b'"\\ud800"', b"1e999"}


def test_a_field_of_an_unknown_kind_is_refused_at_the_start() -> None:
    class Odd(BaseModel):
        either: int | str = 1

    class Sized(BaseModel):
        even: int = Field(multiple_of=2)

    for model in (Odd, Sized):
        with pytest.raises(TypeError):
            decoder(model)


def test_a_histogram_from_it_can_be_asked() -> None:
    body = parse_telemetry(json.dumps(TELEMETRY["serving"]).encode())
    assert not isinstance(body, Telemetry)
    expected = Telemetry.model_validate(TELEMETRY["serving"])
    assert expected.latency is not None
    assert expected.latency.total is not None
    assert body.latency.total.quantile(0.95) == expected.latency.total.quantile(0.95)
