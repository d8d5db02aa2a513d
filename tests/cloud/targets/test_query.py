"""Queries over devices: whatever is written, a query or an error that says where; and the same
devices from SQLite, from PostgreSQL and from plain Python."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql, sqlite
from support.cloud import Store, arrival
from support.fleet_databases import Databases
from support.query_oracle import Device, holds

from edgeqa_cloud.database import Database
from edgeqa_cloud.rollout.tables import device_tags
from edgeqa_cloud.tables import devices
from edgeqa_cloud.targets.query import Query, QueryError, condition, parse
from edgeqa_cloud.targets.query_fields import FIELDS, Operator, Type
from edgeqa_cloud.targets.query_parse import MAX_DEPTH, MAX_TERMS
from edgeqa_cloud.targets.query_text import MAX_CHARS

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
# What could be taken for a pattern, an escape, an end of text or another type.
WORDS = [
    "pi",
    "PI-4",
    "a%b",
    "a_b",
    "a/b",
    "a\\b",
    'a"b',
    "a'b",
    "site-1",
    "1",
    "null",
    "日本",
    "-",
]
VERSIONS = ["0.1.1", "0.2.0", None]
NUMBERS = [None, 0.0, 49.5, 70.0, 70.25, 99.0]


def make_fleet() -> list[Device]:
    some = random.Random(6)

    def device(number: int) -> Device:
        hardware = {
            "machine": some.choice(["aarch64", "x86_64"]),
            "cpus": 4,
            "memory_bytes": some.choice([0, 1 << 29, 3_900_000_000, 8 << 30, 10**17]),
        }
        if some.random() < 0.7:
            hardware["board"] = some.choice([*WORDS, "Raspberry Pi 5 Model B Rev 1.0"])
        named = some.random() < 0.8
        return Device(
            {
                "device": f"{some.choice(['pi', 'sim', 'PI'])}-{number}",
                "first_seen_ms": NOW_MS - some.choice([0, 1, 90]) * HOUR_MS,
                "last_seen_ms": NOW_MS - some.choice([-5000, 0, 600_000, 90 * HOUR_MS]),
                "presence": some.choice(["online", "offline", None]),
                "heartbeat_interval_s": some.choice([60.0, None]),
                "agent_version": some.choice(VERSIONS),
                "onnxruntime_version": some.choice(VERSIONS),
                "groups": some.choice([None, [], ["site-1", "x"], [some.choice(WORDS)]]),
                "hardware": some.choice([hardware, hardware, hardware, None]),
                "model_name": some.choice(["minilm", "MiniLM-6", "a%b"]) if named else None,
                "model_version": some.choice(VERSIONS) if named else None,
                "model_digest": f"sha256:{number % 3:064}" if named else None,
                "exact_match": some.choice(NUMBERS),
                "f1": some.choice(NUMBERS),
                "p95_ms": some.choice(NUMBERS),
                "temperature_celsius": some.choice([None, -5.5, 49.5, 70.0]),
            },
            some.sample(["canary", "site-1", "hall_7", "x"], some.choice([0, 0, 1, 3])),
        )  # fmt: skip

    return [device(number) for number in range(48)]


def store_fleet(database: Database, fleet: list[Device]) -> None:
    with database.writing() as connection:
        for key, one in enumerate(fleet, 1):
            connection.execute(insert(devices).values(id=key, **one.row))
            for tag in one.tags:
                connection.execute(insert(device_tags).values(device_id=key, tag=tag))


@pytest.fixture(scope="module")
def fleet() -> list[Device]:
    return make_fleet()


@pytest.fixture(scope="module")
def both(
    sqlite_databases: Databases, postgres_databases: Databases, fleet: list[Device]
) -> Iterator[list[Database]]:
    """The same fleet in SQLite and in PostgreSQL."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(databases.open(databases.new()))
            for databases in (sqlite_databases, postgres_databases)
        ]
        for database in made:
            store_fleet(database, fleet)
        yield made


def found(database: Database, query: Query) -> list[str]:
    with database.reading() as connection:
        wanted = select(devices.c.device).where(condition(query, NOW_MS))
        return list(connection.scalars(wanted.order_by(devices.c.id)))


def check(both: list[Database], fleet: list[Device], text: str) -> list[str]:
    """The devices, which both databases and plain Python agree on."""
    query = parse(text)
    expected = [one.name for one in fleet if holds(query.root, one, NOW_MS)]
    for database in both:
        assert found(database, query) == expected, text
    return expected


# What is a query, and what is said of what is none.


@given(st.text(max_size=200))
@settings(max_examples=80, deadline=None)
def test_any_text_is_a_query_or_an_error(text: str) -> None:
    parse_or_refuse(text)


PIECES = [
    *FIELDS, *Operator, "(", ")", '"', "\\", "or", "and", "not", "OR", " ", "\t", "70", "-1",
    "x", "*", "!", "10m", "@", "'", "--", "%", "\0", "\ud800", "é", "online", ",", ";",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@settings(max_examples=120, deadline=None)
def test_pieces_of_queries_are_a_query_or_an_error(text: str) -> None:
    parse_or_refuse(text)


def parse_or_refuse(text: str) -> None:
    error = None
    try:
        compiled(text)
    except QueryError as refused:
        error = refused
    if error is not None:
        assert error.code == "bad_query"
        assert "\n" not in str(error)
        assert len(str(error)) < 600


def compiled(text: str) -> list[str]:
    """The SQL of a query, for each database."""
    query = condition(parse(text), NOW_MS)
    return [str(query.compile(dialect=one)) for one in (sqlite.dialect(), postgresql.dialect())]


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("em<", 4, "a value after <"),
        ("em<abc", 4, "em takes a number, in %"),
        ("em<70ms", 4, "em takes a number, in %"),
        ("em<1e3", 4, "em takes a number"),
        ("em<nan", 4, "em takes a number"),
        ("em<1٣", 4, "em takes a number"),
        ("em~70", 3, "em is compared with = != < <= > >="),
        ("group=a device<b", 15, "device is compared with = != ~"),
        ("colour=red", 1, "there are device, group, tag, model,"),
        ("presence=away", 10, "one of online, silent, offline, unknown"),
        ('presence=""', 10, "one of online"),
        ("seen=10m", 5, "seen is compared with < <= > >="),
        ("seen<10", 6, "as 90s, 10m, 24h, 7d or 2w"),
        ("joined>-5m", 8, "as 90s"),
        ('device~""', 8, '"" goes with = and !='),
        ("device=a or", 12, "a term such as em<70"),
        ("or device=a", 1, "a term such as em<70"),
        ("a and or b", 7, "a term such as em<70"),
        ("not", 4, "a term such as em<70"),
        ("<5", 1, "a term such as em<70"),
        ("device=(a)", 8, "a value after ="),
        ("device==a", 8, "a value after ="),
        ("()", 2, "a term such as em<70"),
        ("(a", 1, "not closed"),
        ("a)", 2, "closes none"),
        ('a "b', 3, "does not end"),
        ('board="a\\"', 7, "does not end"),
        ('""', 1, "nothing to search for"),
        ("a\0b", 2, "cannot be searched for"),
        ("board~\ud800", 7, "cannot be searched for"),
        ("device~*a*b*c*d*e*", 8, "at most 5 stars"),
    ],
)
def test_an_error_says_where_and_what_belongs_there(text: str, place: int, expected: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert f"at character {place}: " in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["", "  \t\n"])
def test_an_empty_query(text: str) -> None:
    with pytest.raises(QueryError, match="empty"):
        parse(text)


def test_bounds() -> None:
    parse("x" * MAX_CHARS)
    with pytest.raises(QueryError, match="2001 characters"):
        parse("x" * (MAX_CHARS + 1))
    parse(" ".join(["x"] * MAX_TERMS))
    with pytest.raises(QueryError, match="at most 100 terms"):
        parse(" ".join(["x"] * (MAX_TERMS + 1)))
    for opening, closing in (("(", ")"), ("not ", ""), ("not (", ")")):
        deep = MAX_DEPTH // (1 + (opening == "not ("))
        compiled(opening * deep + "x" + closing * deep)
        for more in (deep + 1, 300):
            with pytest.raises(QueryError, match="in each other"):
                parse(opening * more + "x" + closing * more)


# What is found.


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("device=pi-0 or device!=pi-0", True),
        ('model=minilm version="0.1.1"', True),
        ("model=minilm@0.1.1", True),
        ('model~"minilm@*.1"', True),
        ('model="" version=""', True),
        ('model!="" and version=""', True),
        ("tag=canary not tag=x", True),
        ('tag="" or tag~HALL*', True),
        ("tag~hall_*", True),
        ("tag~%", False),
        ("group=site-1", True),
        ("group=Site-1", False),
        ("group~SITE", True),
        ('group="" ', True),
        ('group="a\\\\b" or group="a\\"b" or group="a\'b"', True),
        ("board~a_b or board~a%b or board~a/b or board='日本'", True),
        ("board~raspberry*5*", True),
        ("raspberry or pi", True),
        ("group~* not group=site-1", True),
        ("not board~*", True),
        ("memory>=8 memory<=8GiB", True),
        ("memory=0.5", True),
        ('memory="" machine=""', True),
        ("em>=70% f1<70.25", True),
        ('not em<70 em!=""', True),
        ("temperature<-5.4C", True),
        ("p95>99ms", False),
        ("seen<10m presence!=offline", True),
        ("joined>=90h or joined<1s", True),
        ("presence=UNKNOWN", True),
        ("NOT (device~sim OR device~pi)", False),
    ],
)
def test_databases_find_what_python_finds(
    text: str, some: bool, both: list[Database], fleet: list[Device]
) -> None:
    assert bool(check(both, fleet, text)) == some


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


TEXTS = st.sampled_from(
    [*WORDS, "pi-1", "sim*", "*", "mini*6", "minilm@0.1.1", "minilm@", "canary", ""]
)
SEARCHED = TEXTS.filter(bool) | st.text("aPi-_%/*\\\"' 1", min_size=1, max_size=4)
NUMERIC = st.sampled_from(["0", "49.5", "70", "-5.5", "0.5", "8", "3.5", "70.250000"])
SPANS = st.sampled_from(["0s", "10m", "1h", "90h", "4w", "599.9s"])


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    field = draw(st.sampled_from(list(FIELDS.values())))
    if field.type is Type.TEXT:
        operator = draw(st.sampled_from(["=", "!=", "~"]))
        value = quoted(draw(SEARCHED if operator == "~" else TEXTS | SEARCHED))
    elif field.type is Type.PRESENCE:
        operator = draw(st.sampled_from(["=", "!="]))
        value = draw(st.sampled_from(["online", "silent", "offline", "unknown"]))
    elif field.type is Type.NUMBER:
        operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
        value = draw(NUMERIC | (st.just('""') if operator in {"=", "!="} else NUMERIC))
    else:
        operator = draw(st.sampled_from(["<", "<=", ">", ">="]))
        value = draw(SPANS)
    blank = draw(st.sampled_from(["", " "]))
    return f"{field.name}{blank}{operator}{blank}{value}"


QUERIES = st.recursive(
    comparisons() | SEARCHED.map(quoted),
    lambda parts: st.one_of(
        parts.map(lambda one: f"not ({one})"),
        st.lists(parts, min_size=2, max_size=3).map(lambda some: f"({' '.join(some)})"),
        st.lists(parts, min_size=2, max_size=3).map(lambda some: f"({' or '.join(some)})"),
    ),
    max_leaves=6,
)


@given(text=QUERIES)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_query_finds_the_same_everywhere(
    both: list[Database], fleet: list[Device], text: str
) -> None:
    check(both, fleet, text)


# Attacks.

INJECTIONS = [
    "x'; DROP TABLE devices; --",
    "' OR '1'='1",
    "%' OR 1=1 --",
    "x\\'; DELETE FROM devices; --",
    "$$; DROP TABLE devices; $$",
    "); DROP TABLE devices; --",
    ":now_ms %(param_1)s ? %s {x}",
    "/*", "*/ OR 1=1", "\u2019 OR 1=1", "<script>alert(1)</script>",
]  # fmt: skip


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_is_read_as_sql(text: str, both: list[Database], fleet: list[Device]) -> None:
    fields = [name for name, one in FIELDS.items() if one.type is Type.TEXT]
    for name in fields:
        for operator in ("=", "!=", "~"):
            query = f"{name}{operator}{quoted(text)}"
            assert not any(text in sql for sql in compiled(query))
            check(both, fleet, query)
    check(both, fleet, quoted(text))
    parse_or_refuse(text)
    assert len(check(both, fleet, "device~*")) == len(fleet)


def test_what_devices_say_of_themselves_spoils_no_query(store: Store) -> None:
    """A birth is a device's own words: none of them may make a query fail for the whole fleet."""
    births: list[dict[str, Any]] = [
        {"hardware": {"machine": "m", "cpus": 1, "memory_bytes": 10**30}},
        {"hardware": {"machine": "a\0b", "board": "\0", "cpus": 1, "memory_bytes": -5}},
        {"groups": ["a\0b", '"', "\\", "", "x" * 5000]},
        {"groups": []},
        {},
    ]
    raw = [json.dumps({"schema": 1, "status": "online", "device": f"d{number}", "boot_id": "b",
                       **birth}) for number, birth in enumerate(births)]  # fmt: skip
    half = (
        ', "groups": ["\\ud800"], "hardware": {"machine": "\\ud800", "cpus": 1, "memory_bytes": 1}}'
    )
    raw.append(raw[4].replace('"d4"', '"d9"')[:-1] + half)
    for number, payload in enumerate(raw):
        device = json.loads(payload)["device"]
        store.store(arrival("status", payload.encode(), device=device, at_ms=NOW_MS + number))
    for text in (
        "group=a",
        "group~a",
        'group=""',
        "memory>=1",
        "memory<1",
        "board~x",
        "machine=m",
        "x",
    ):
        names = found(store.database, parse(f"{text} or not {text}"))
        assert {"d0", "d1", "d2", "d3", "d4"} <= set(names)
