"""Ways around the access rules that a member could try, at a real broker with TLS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from support.guarded import GuardedSite, Member
from support.probe import NOT_AUTHORIZED, TAKEN, Probe, eventually

from edgeqa.broker import BrokerSettings
from edgeqa.client_ids import private_client_id
from edgeqa.identity.roles import PASSWORD_PORTS, PORTS, Role
from edgeqa.topics import DeviceTopics, Kind, of_all_devices, shared
from edgeqa_cloud.database import Database
from edgeqa_cloud.settings import DatabaseSettings
from edgeqa_cloud.share_name import share_name

PI, OTHER_PI = DeviceTopics("pi-1"), DeviceTopics("pi-2")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedSite]:
    with GuardedSite(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def members(site: GuardedSite) -> dict[str, Member]:
    return {
        "pi-1": site.enrol(Role.DEVICE, "pi-1"),
        "pi-2": site.enrol(Role.DEVICE, "pi-2"),
        "alice": site.enrol(Role.CLIENT, "alice"),
        "cloud": site.enrol(Role.SERVICE, "cloud"),
    }


@pytest.fixture
def witness(site: GuardedSite) -> Iterator[Probe]:
    with Probe(site.broker.address_settings()) as probe:
        probe.subscribe("#")
        yield probe


def _at(broker: BrokerSettings, port: int, **fields: object) -> BrokerSettings:
    """The same credentials, shown at another listener."""
    return broker.model_copy(update={"broker": f"mqtts://localhost:{port}", **fields})


# --- Who gets in -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pi-1", "alice", "cloud"])
def test_a_certificate_opens_the_listener_of_its_role_alone(
    site: GuardedSite, members: dict[str, Member], name: str
) -> None:
    one = members[name]
    for role in Role:
        with Probe(_at(one.broker, site.ports[PORTS[role]])) as probe:
            assert (probe.refused is None) is (role is one.role), f"{name} at the port of {role}"


def test_without_a_certificate_nobody_gets_in(
    site: GuardedSite, members: dict[str, Member]
) -> None:
    for role in Role:
        bare = _at(
            members["pi-1"].broker, site.ports[PORTS[role]],
            broker_cert_file=None, broker_key_file=None,
        )  # fmt: skip
        with Probe(bare) as probe:
            assert probe.refused


def test_a_certificate_of_another_authority_is_refused(
    site: GuardedSite, members: dict[str, Member], tmp_path: Path
) -> None:
    """The role and the name are right; who signed is not ours."""
    with GuardedSite(tmp_path) as elsewhere:
        stranger = elsewhere.enrol(Role.DEVICE, "pi-1")
    theirs = members["pi-1"].broker.model_copy(
        update={
            "broker_cert_file": stranger.bundle / "identity.crt",
            "broker_key_file": stranger.bundle / "identity.key",
        }
    )
    with Probe(theirs) as probe:
        assert probe.refused


def test_a_certificate_says_who_somebody_is_not_the_client(
    members: dict[str, Member], witness: Probe
) -> None:
    impostor = members["pi-1"].broker.model_copy(update={"broker_username": "pi-2"})
    with Probe(impostor) as probe:
        assert probe.publish(OTHER_PI.heartbeat, b"forged") == NOT_AUTHORIZED
        assert probe.publish(PI.heartbeat, b"own") in TAKEN
    witness.hear(b"own")
    assert not witness.topics(b"forged")


@pytest.mark.parametrize("role", list(Role))
def test_a_password_opens_nothing_but_its_owners_listener(
    site: GuardedSite, members: dict[str, Member], role: Role, tmp_path: Path
) -> None:
    name = f"{role.value}-by-password"
    one = site.enrol(role, name, password=True)
    wrong, empty = tmp_path / "wrong", tmp_path / "empty"
    wrong.write_text("guessed")
    empty.write_text("")
    with Probe(one.broker) as probe:
        assert probe.refused is None
    for bad in ({"broker_password_file": wrong}, {"broker_password_file": empty},
                {"broker_username": "nobody"},
                {"broker_username": None, "broker_password_file": None}):  # fmt: skip
        with Probe(one.broker.model_copy(update=bad)) as probe:
            assert probe.refused, bad
    for other in Role:
        if other is not role:
            with Probe(_at(one.broker, site.ports[PASSWORD_PORTS[other]])) as probe:
                assert probe.refused
        with Probe(_at(one.broker, site.ports[PORTS[other]])) as probe:
            assert probe.refused


def test_names_with_wildcards_or_levels_cannot_be_enrolled(site: GuardedSite) -> None:
    for name in ("+", "#", "a/b", "%u", "pi-1\nuser", "", "$SYS"):
        with pytest.raises(SystemExit, match="is no name"):
            site.cloud("enrol", name, "--output", str(site.folder / "bad"))


# --- Wills --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_a_will_is_published_by_the_same_rules(
    members: dict[str, Member], witness: Probe, version: MQTTProtocolVersion
) -> None:
    wills = {
        "pi-1": [PI.status, OTHER_PI.status, PI.desired, OTHER_PI.command("ping")],
        "alice": [PI.status, PI.desired, PI.command("ping"), "homeassistant/status"],
    }
    for name, topics in wills.items():
        for topic in topics:
            with Probe(members[name].broker, will=topic, version=version) as probe:
                probe.vanish()
    allowed = {PI.status, "homeassistant/status"}
    eventually(lambda: witness.topics(b"will") >= allowed, "the wills")
    witness.publish("last", b"last")
    witness.hear(b"last")
    assert witness.topics(b"will") == allowed
    for topic in allowed:
        witness.publish(topic, b"", retain=True)


# --- Sessions -----------------------------------------------------------------------------------


def test_nobody_takes_the_session_of_a_device_by_what_can_be_guessed(
    members: dict[str, Member],
) -> None:
    """Mosquitto lets anybody have any client id, so a device's is not one that can be guessed."""
    device = members["pi-1"].broker
    base = "edgeqa-agent-pi-1"
    own = private_client_id(base, device)
    with Probe(device, client_id=own, keep_s=60) as agent, ExitStack() as stack:
        agent.subscribe(PI.ask)
        for attacker in ("alice", "pi-2"):
            theirs = members[attacker].broker
            guesses = ["pi-1", base, own[:-1], private_client_id(base, theirs)]
            for guess in guesses:
                stack.enter_context(Probe(theirs, client_id=guess, keep_s=60))
        assert not agent.lost.is_set()
        with Probe(members["cloud"].broker) as cloud:
            cloud.publish(PI.ask, b"still mine")
        agent.hear(b"still mine")


def test_a_session_that_is_taken_gives_nothing_away(members: dict[str, Member]) -> None:
    """Even whoever learns the id reads only what his own rules let him."""
    device, alice = members["pi-1"].broker, members["alice"].broker
    with Probe(device, client_id="known", keep_s=60) as agent:
        agent.subscribe(PI.desired, PI.ask)
    with Probe(members["cloud"].broker) as cloud:
        cloud.publish(PI.ask, b"waits for the device")
    with Probe(alice, client_id="known", keep_s=60) as thief, Probe(device) as answering:
        thief.subscribe(PI.answers)
        answering.publish(PI.answers, b"last")
        thief.hear(b"last")
    assert {payload for _, payload in thief.heard} == {b"last"}


# --- Shared subscriptions -----------------------------------------------------------------------


def test_records_cannot_be_eaten_without_the_collectors_secret(
    site: GuardedSite, members: dict[str, Member]
) -> None:
    topic_filter = of_all_devices(Kind.TELEMETRY)
    with Database.of(DatabaseSettings(database=site.database)) as database:
        secret = share_name(database, "edgeqa")
    with (
        Probe(members["cloud"].broker) as collector,
        Probe(members["alice"].broker) as client,
        Probe(members["pi-2"].broker) as device,
        Probe(members["pi-1"].broker) as sender,
    ):
        collector.subscribe(shared(secret, topic_filter))
        for guess in ("edgeqa", secret[:-1]):
            client.subscribe(shared(guess, topic_filter))
            device.subscribe(shared(guess, topic_filter))
        for number in range(8):
            assert sender.publish(PI.record("telemetry"), b"%d" % number) in TAKEN
        eventually(lambda: len(collector.heard) == 8, "all records")
        assert not client.heard
        assert not device.heard


def test_a_shared_subscription_gives_nothing_that_may_not_be_read(
    members: dict[str, Member], witness: Probe
) -> None:
    with Probe(members["alice"].broker) as client:
        client.subscribe("$share/x/#", f"$share/x/{PI.desired}", PI.answers)
        witness.publish(PI.desired, b"a wish")
        witness.publish(PI.answers, b"last")
        client.hear(b"last")
    assert client.topics(b"a wish") == set()


# --- The broker's own ---------------------------------------------------------------------------


def test_nobody_publishes_as_the_broker(members: dict[str, Member], witness: Probe) -> None:
    for one in members.values():
        with Probe(one.broker) as probe:
            for topic in ("$SYS/broker/version", "$SYS/x", "$CONTROL/dynamic-security/v1"):
                assert probe.publish(topic, b"forged") == NOT_AUTHORIZED
    witness.subscribe("$SYS/#", "$CONTROL/#")
    witness.publish("last", b"last")
    witness.hear(b"last")
    assert not witness.topics(b"forged")


# --- Revocation, and new rules for open connections ---------------------------------------------


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("method", ["certificate", "password"])
def test_who_is_revoked_is_mute_at_once_and_does_not_come_back(
    site: GuardedSite, witness: Probe, role: Role, method: str
) -> None:
    name = f"lost-{role.value}-{method}"
    topics = DeviceTopics(name)
    says = {Role.DEVICE: topics.heartbeat, Role.CLIENT: topics.ask, Role.SERVICE: topics.desired}
    hears = {
        Role.DEVICE: topics.ask,
        Role.CLIENT: f"edgeqa/v1/clients/{name}/answers",
        Role.SERVICE: topics.heartbeat,
    }
    one = site.enrol(role, name, password=method == "password")
    with Probe(one.broker) as probe:
        probe.subscribe(hears[role])
        assert probe.publish(says[role], b"member") in TAKEN
        site.revoke(role, name)
        if method == "certificate":
            assert not probe.lost.is_set()
            assert probe.publish(says[role], b"revoked") == NOT_AUTHORIZED
        else:
            eventually(probe.lost.is_set, "the connection is closed")
        witness.publish(hears[role], b"for a member")
        witness.publish("last", b"last")
        witness.hear(b"last")
        assert not witness.topics(b"revoked")
        assert not probe.topics(b"for a member")
    with Probe(one.broker) as again:
        assert again.refused


def test_others_notice_nothing_of_a_reload(site: GuardedSite, members: dict[str, Member]) -> None:
    with ExitStack() as stack:
        probes = {n: stack.enter_context(Probe(one.broker)) for n, one in members.items()}
        probes["pi-1"].subscribe(PI.ask)
        site.broker.reload()
        assert probes["alice"].publish(PI.ask, b"after") in TAKEN
        probes["pi-1"].hear(b"after")
        assert not any(probe.lost.is_set() for probe in probes.values())


def test_rules_that_cannot_be_read_allow_everything(tmp_path: Path) -> None:
    """Why nobody may send a SIGHUP before he has looked: docs/access-rules.md says so."""
    with GuardedSite(tmp_path) as site:
        alice = site.enrol(Role.CLIENT, "alice")
        rules = site.authority / "broker" / "client.acl"
        shutil.move(rules, tmp_path / "away")
        site.broker.reload()
        with Probe(alice.broker) as probe:
            assert probe.publish(PI.desired) in TAKEN
        shutil.move(tmp_path / "away", rules)
        site.broker.reload()
        with Probe(alice.broker) as probe:
            assert probe.publish(PI.desired) == NOT_AUTHORIZED
