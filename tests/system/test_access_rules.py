"""The table of docs/access-rules.md, cell by cell, at a real broker with TLS.

What is allowed must work and what is not must not: publishing by the broker's answer and by what an
open listener hears, reading by what arrives. The broker, its rules and its members are made by
`edgeqa cloud authority init` and `edgeqa cloud enrol`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import pytest
from paho.mqtt.client import topic_matches_sub
from support import access_table
from support.access_table import PUBLISH, READ, Case, cases
from support.guarded import GuardedSite, Member
from support.probe import NOT_AUTHORIZED, TAKEN, Probe

from edgeqa.broker import BrokerSettings
from edgeqa.identity.roles import Role
from edgeqa.topics import Kind

OTHER = "pi-2"
# A client with a device's name is no device; a service has a name of its own, or is not enrolled.
NAMES = {Role.DEVICE: "pi-1", Role.CLIENT: "pi-1", Role.SERVICE: "ops-1"}
# A topic of each role that it may read, for what comes last.
_LAST = {
    Role.DEVICE: f"edgeqa/v1/devices/{NAMES[Role.DEVICE]}/ask",
    Role.CLIENT: f"edgeqa/v1/clients/{NAMES[Role.CLIENT]}/answers",
    Role.SERVICE: "edgeqa/v1/last",
}
_SYS = "$SYS/broker/version"


@dataclass(frozen=True, slots=True)
class Site:
    broker: BrokerSettings  # the open listener
    members: dict[tuple[Role, str], Member]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with GuardedSite(tmp_path_factory.mktemp("site")) as site:
        members = {
            (role, method): site.enrol(
                role, NAMES[role], password=method == "password", reload=False
            )
            if method == "certificate"
            # One name, both methods: it is enrolled again.
            else site.enrol(role, NAMES[role], "--again", password=True, reload=False)
            for role in Role
            for method in ("certificate", "password")
        }
        site.broker.reload()
        yield Site(site.broker.address_settings(), members)


def _cases(role: Role, action: str) -> list[Case]:
    return [case for case in cases(role, NAMES[role], OTHER) if case.action == action]


@pytest.mark.parametrize("method", ["certificate", "password"])
@pytest.mark.parametrize("role", list(Role))
def test_each_role_publishes_what_the_table_says(site: Site, role: Role, method: str) -> None:
    payload = f"{role} by {method}".encode()
    with (
        Probe(site.broker) as witness,
        Probe(site.members[role, method].broker) as member,
    ):
        assert member.refused is None
        witness.subscribe("#", "$SYS/#")
        tried = [(case, member.send(case.topic, payload)) for case in _cases(role, PUBLISH)]
        taken = {case.topic for case, number in tried if member.reason(number) in TAKEN}
        refused = {case.topic for case, number in tried if member.reason(number) == NOT_AUTHORIZED}
        witness.publish("last", b"last")
        witness.hear(b"last")
    allowed = {case.topic for case, _ in tried if case.allowed}
    assert taken == allowed
    assert refused == {case.topic for case, _ in tried} - allowed
    assert witness.topics(payload) == allowed


@pytest.mark.parametrize("method", ["certificate", "password"])
@pytest.mark.parametrize("role", list(Role))
def test_each_role_reads_what_the_table_says(site: Site, role: Role, method: str) -> None:
    payload = f"for {role} by {method}".encode()
    tried = [case for case in _cases(role, READ) if case.topic != _SYS]
    with (
        Probe(site.broker) as witness,
        Probe(site.members[role, method].broker) as member,
    ):
        assert member.refused is None
        # Each by its name, and all by wildcards.
        member.subscribe(*(case.topic for case in tried), _SYS)
        member.subscribe("#", "+/#", "/#", "$SYS/#", "edgeqa/v1/devices/+/#", "edgeqa/+/+/+/ask")
        for case in tried:
            witness.publish(case.topic, payload)
        witness.publish(_LAST[role], b"last")
        member.hear(b"last")
    assert member.topics(payload) == {case.topic for case in tried if case.allowed}
    (system,) = (case for case in _cases(role, READ) if case.topic == _SYS)
    assert any(topic.startswith("$SYS/") for topic, _ in member.heard) is system.allowed


def test_what_is_retained_is_read_by_the_same_rules(site: Site) -> None:
    tried = {role: _cases(role, READ) for role in Role}
    topics = sorted({case.topic for each in tried.values() for case in each} - {_SYS})
    with Probe(site.broker) as witness:
        for topic in topics:
            witness.publish(topic, b"retained", retain=True)
        for role, each in tried.items():
            with Probe(site.members[role, "certificate"].broker) as member:
                member.subscribe("#")
                witness.publish(_LAST[role], b"last")
                member.hear(b"last")
            allowed = {case.topic for case in each if case.allowed} - {_SYS}
            # Of topics that its cases know: others are below the name of another role's member.
            known = {case.topic for case in each}
            assert member.topics(b"retained") & known == allowed
        for topic in topics:
            witness.publish(topic, b"", retain=True)


def test_the_table_has_all_topics_of_a_device() -> None:
    named = {row.topic.strip("`") for row in access_table.rows()}
    more = {Kind.CONTEXTS: "/{context_id}", Kind.COMMANDS: "/{verb}"}
    assert {f"edgeqa/v1/devices/{{name}}/{kind}{more.get(kind, '')}" for kind in Kind} <= named


@pytest.mark.parametrize("role", list(Role))
def test_the_table_has_all_rules(role: Role) -> None:
    """A rule that no allowed cell needs would let in what the table does not say."""
    text = files("edgeqa_cloud.enrolment").joinpath("broker", f"{role}.acl").read_text()
    rules = [line.split() for line in text.splitlines() if line.startswith(("pattern", "topic"))]
    assert rules
    actions = {"write": PUBLISH, "read": READ}
    for keyword, access, pattern in rules:
        assert keyword == "pattern"
        topic_filter = pattern.replace("%u", NAMES[role]).replace("$$", "$")
        needed = [case for case in _cases(role, actions[access]) if case.allowed]
        assert any(topic_matches_sub(topic_filter, case.topic) for case in needed), pattern
