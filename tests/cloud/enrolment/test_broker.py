"""What a real Mosquitto makes of the files: who belongs is let in, and nobody else."""

from __future__ import annotations

import queue
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import structlog
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.enrolled import Bundle, Fleet

from edgeqa.identity.roles import Role
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.certificates import authority_certificate, new_key, pem_of
from edgeqa_cloud.enrolment.keeper import BrokerFilesKeeper
from edgeqa_cloud.enrolment.making import set_hosts
from edgeqa_cloud.enrolment.passwords import IssuedPassword, issue_password
from edgeqa_cloud.enrolment_settings import EnrolmentSettings

pytestmark = pytest.mark.system

WAIT_S = 10.0
NOT_AUTHORISED = 135  # MQTT 5, section 3.4.2.1
ROLES = list(Role)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    made.broker.start()
    yield made
    made.broker.stop()


@pytest.fixture(scope="module")
def other_fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Its authority issues certificates of the same names."""
    return Fleet(tmp_path_factory.mktemp("other_fleet"))


class Line:
    """A connection that tells what becomes of it."""

    def __init__(self, port: int, context: ssl.SSLContext, user: str, password: str | None) -> None:
        self.events: queue.Queue[tuple[str, int]] = queue.Queue()
        self.heard: queue.Queue[str] = queue.Queue()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"line-{user}", protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )  # fmt: skip
        self._client.tls_set_context(context)
        self._client.username_pw_set(user, password)
        client: Any = self._client
        client.on_connect = lambda _c, _u, _f, code, _p: self.events.put(("connected", code.value))
        client.on_disconnect = lambda _c, _u, _f, code, _p: self.events.put(("gone", code.value))
        client.on_publish = lambda _c, _u, _m, code, _p: self.events.put(("published", code.value))
        client.on_subscribe = lambda _c, _u, _m, codes, _p: self.events.put(
            ("subscribed", codes[0].value)
        )
        client.on_message = lambda _c, _u, message: self.heard.put(message.topic)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho
        properties.SessionExpiryInterval = 0
        self._client.connect("127.0.0.1", port, properties=properties)
        self._client.loop_start()

    def expect(self, event: str) -> int:
        """The next thing that happens, which is that."""
        got, code = self.events.get(timeout=WAIT_S)
        assert got == event, (got, code)
        return code

    def publish(self, topic: str) -> int:
        """How the broker acknowledged it."""
        self._client.publish(topic, "{}", qos=1)
        return self.expect("published")

    def subscribe(self, topic: str) -> int:
        self._client.subscribe(topic, qos=1)
        return self.expect("subscribed")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def context_of(bundle: Bundle | None, ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if bundle is not None:
        context.load_cert_chain(bundle.cert, bundle.key)
    return context


@contextmanager
def line(fleet: Fleet, bundle: Bundle, role: Role = Role.DEVICE) -> Iterator[Line]:
    """One that is let in."""
    made = Line(fleet.broker.ports[role], context_of(bundle, bundle.ca), bundle.issued.name, None)
    try:
        assert made.expect("connected") == 0
        yield made
    finally:
        made.close()


@contextmanager
def password_line(fleet: Fleet, issued: IssuedPassword, word: str | None = None) -> Iterator[Line]:
    ca = fleet.authority_folder / "service" / "ca.crt"
    port = fleet.broker.password_ports[issued.role]
    made = Line(port, context_of(None, ca), issued.name, word or issued.password)
    try:
        yield made
    finally:
        made.close()


def handshake(fleet: Fleet, role: Role, bundle: Bundle | None) -> str | None:
    """Why there is no TLS connection; None where there is one, on which the broker answers."""
    ca = fleet.authority_folder / "service" / "ca.crt"
    address = ("127.0.0.1", fleet.broker.ports[role])
    try:
        with (
            socket.create_connection(address, timeout=WAIT_S) as plain,
            context_of(bundle, ca).wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            # With TLS 1.3 the client is done before the server has looked at its certificate.
            secure.sendall(b"\x10\x10\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x03abc")
            return None if secure.recv(1) else "closed"
    except (ssl.SSLError, ConnectionError) as error:
        return getattr(error, "reason", None) or type(error).__name__


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def reload(fleet: Fleet) -> None:
    """Have the broker read its files again, and wait until it has."""
    count = fleet.broker.log.count("Reloading config")
    fleet.broker.reload()
    until(lambda: fleet.broker.log.count("Reloading config") > count, "reloaded")
    # It reads them in the turn of its loop in which it says so; a connection comes after.
    assert handshake(fleet, Role.SERVICE, fleet.enrol("reload", Role.SERVICE)) is None


def topic(name: str, kind: str = "heartbeat") -> str:
    return f"edgeqa/v1/devices/{name}/{kind}"


def test_whom_we_enrolled_is_let_in_and_heard(fleet: Fleet) -> None:
    with (
        line(fleet, fleet.enrol("cloud", Role.SERVICE), Role.SERVICE) as cloud,
        line(fleet, fleet.enrol("pi-1")) as device,
    ):
        assert cloud.subscribe("edgeqa/v1/devices/+/heartbeat") < NOT_AUTHORISED
        assert device.publish(topic("pi-1")) < NOT_AUTHORISED
        assert cloud.heard.get(timeout=WAIT_S) == topic("pi-1")
        # By its certificate it is who it is, whatever it says.
        assert device.publish(topic("pi-2")) == NOT_AUTHORISED


@pytest.mark.parametrize("at", ROLES)
@pytest.mark.parametrize("of", ROLES)
def test_a_role_comes_in_by_its_own_door_alone(fleet: Fleet, of: Role, at: Role) -> None:
    bundle = fleet.enrol(f"door-{of}-{at}", of)
    refused = handshake(fleet, at, bundle)
    assert (refused is None) == (of is at), refused


@pytest.mark.parametrize("at", ROLES)
def test_nobody_comes_in_without_a_certificate_or_with_one_of_another_authority(
    fleet: Fleet, other_fleet: Fleet, at: Role
) -> None:
    assert handshake(fleet, at, None) is not None
    assert handshake(fleet, at, other_fleet.enrol("pi-1", at)) is not None


@pytest.mark.parametrize("at", ROLES)
def test_nobody_comes_in_with_a_certificate_that_they_signed_themselves(
    fleet: Fleet, at: Role
) -> None:
    """An authority of the same name; and a device that signs for another as if it were one."""
    now, key = datetime.now(UTC), new_key()
    own = fleet.enrol(f"own-{at}", at)
    own.cert.write_text(pem_of(authority_certificate(at, key, now=now, days=1)))
    own.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert handshake(fleet, at, own) is not None


@pytest.mark.parametrize(
    ("days", "ago"),
    [(1.0, timedelta(days=1, seconds=1)), (9.0, timedelta(hours=-2))],
    ids=["expired", "not yet valid"],
)
@pytest.mark.parametrize("at", ROLES)
def test_a_certificate_counts_in_its_time_alone(
    fleet: Fleet, at: Role, days: float, ago: timedelta
) -> None:
    bundle = fleet.enrol("late", at, days=days, ago=ago, folder=f"late-{at}-{days}")
    assert handshake(fleet, at, bundle) is not None


# What somebody of a role may publish; and two topics that one may read each, and who writes there.
SPEAKS = {
    Role.DEVICE: "edgeqa/v1/devices/{}/heartbeat",
    Role.CLIENT: "edgeqa/v1/devices/pi-1/ask",
    Role.SERVICE: "edgeqa/v1/devices/pi-1/commands/ping",
}
HEARS = {
    Role.DEVICE: ("edgeqa/v1/devices/gone/commands/a", "edgeqa/v1/devices/stays/commands/a"),
    Role.CLIENT: ("edgeqa/v1/clients/gone/x/answers", "edgeqa/v1/clients/stays/x/answers"),
    Role.SERVICE: ("edgeqa/v1/devices/d/status", "edgeqa/v1/devices/d/heartbeat"),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_revoked_one_is_mute_at_once_and_never_comes_in_again(fleet: Fleet, role: Role) -> None:
    bundle, other = fleet.enrol("gone", role), fleet.enrol("stays", role)
    writes = Role.SERVICE if role is Role.DEVICE else Role.DEVICE
    with (
        line(fleet, bundle, role) as gone,
        line(fleet, other, role) as stays,
        line(fleet, fleet.enrol("d", writes), writes) as writer,
    ):
        for one, name, hears in zip((gone, stays), ("gone", "stays"), HEARS[role], strict=True):
            assert one.publish(SPEAKS[role].format(name)) < NOT_AUTHORISED
            assert one.subscribe(hears) < NOT_AUTHORISED
            assert writer.publish(hears) < NOT_AUTHORISED
            assert one.heard.get(timeout=WAIT_S) == hears
        fleet.revoke("gone", role)
        reload(fleet)
        for hears in HEARS[role]:
            assert writer.publish(hears) < NOT_AUTHORISED
        assert stays.heard.get(timeout=WAIT_S) == HEARS[role][1]
        assert stays.publish(SPEAKS[role].format("stays")) < NOT_AUTHORISED
        # Its refusal comes after whatever the broker had sent it before.
        assert gone.publish(SPEAKS[role].format("gone")) == NOT_AUTHORISED
        assert gone.heard.empty()
        assert handshake(fleet, role, bundle) is not None
        assert handshake(fleet, role, other) is None


def test_lists_add_up_and_who_is_enrolled_anew_comes_back(fleet: Fleet) -> None:
    """Read again and again within a second, each list counts from when it was read."""
    bundles = [fleet.enrol(f"row-{n}") for n in range(4)]
    for gone in range(1, 4):
        fleet.revoke(f"row-{gone - 1}")
        reload(fleet)
        let_in = [handshake(fleet, Role.DEVICE, one) is None for one in bundles]
        assert let_in == [False] * gone + [True] * (4 - gone)
    back = fleet.enrol("row-0", folder="row-0-again")
    fleet.write_broker_files()
    reload(fleet)
    assert handshake(fleet, Role.DEVICE, back) is None
    assert handshake(fleet, Role.DEVICE, bundles[0]) is not None
    with line(fleet, back) as again:
        assert again.publish(topic("row-0")) < NOT_AUTHORISED


@pytest.mark.parametrize("role", ROLES)
def test_a_password_counts_until_it_is_revoked(fleet: Fleet, role: Role) -> None:
    now = datetime.now(UTC)
    issued = issue_password(role, f"word-{role}", valid_days=9, now=now)
    with Database.of(fleet.settings) as database, database.writing() as connection:
        registry.record(connection, issued, issued_by="test")
    fleet.write_broker_files()
    reload(fleet)
    with password_line(fleet, issued, "another") as wrong:
        assert wrong.expect("connected") == NOT_AUTHORISED
    with password_line(fleet, issued) as right:
        assert right.expect("connected") == 0
        fleet.revoke(f"word-{role}", role)
        reload(fleet)
        right.expect("gone")
    with password_line(fleet, issued) as gone:
        assert gone.expect("connected") == NOT_AUTHORISED


def test_a_password_opens_no_door_of_another_role(fleet: Fleet) -> None:
    issued = issue_password(Role.DEVICE, "word", valid_days=9, now=datetime.now(UTC))
    with Database.of(fleet.settings) as database, database.writing() as connection:
        registry.record(connection, issued, issued_by="test")
    fleet.write_broker_files()
    reload(fleet)
    for role in (Role.CLIENT, Role.SERVICE):
        elsewhere = IssuedPassword(
            role, issued.name, issued.password, issued.hashed, issued.issued, issued.expires
        )
        with password_line(fleet, elsewhere) as one:
            assert one.expect("connected") == NOT_AUTHORISED


def test_the_brokers_certificate_changes_without_a_restart(fleet: Fleet) -> None:
    """And who was connected stays so."""
    with line(fleet, fleet.enrol("constant")) as constant:
        for hosts in (["localhost", "127.0.0.1", "new.example.org"], ["localhost", "127.0.0.1"]):
            set_hosts(fleet.authority, hosts)
            fleet.authority = fleet.authority.reread()
            fleet.write_broker_files()
            reload(fleet)
            assert ("new.example.org" in server_names(fleet)) == (len(hosts) > 2)
        assert constant.publish(topic("constant")) < NOT_AUTHORISED


def server_names(fleet: Fleet) -> list[str]:
    bundle = fleet.enrol("looks", Role.SERVICE)
    address = ("127.0.0.1", fleet.broker.ports[Role.SERVICE])
    with (
        socket.create_connection(address, timeout=WAIT_S) as plain,
        context_of(bundle, bundle.ca).wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        shown: Any = secure.getpeercert()
    return [value for _, value in shown["subjectAltName"]]


def test_nobody_takes_another_authoritys_broker_for_ours(fleet: Fleet, other_fleet: Fleet) -> None:
    bundle = fleet.enrol("careful")
    context = context_of(bundle, other_fleet.authority_folder / "service" / "ca.crt")
    with (
        socket.create_connection(("127.0.0.1", fleet.broker.ports[Role.DEVICE])) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_what_others_recorded_gets_to_the_broker_by_itself(fleet: Fleet, tmp_path: Path) -> None:
    """A revocation by a command that has no authority; a password that expires."""
    bundle = fleet.enrol("elsewhere")
    soon = datetime.now(UTC) - timedelta(days=1) + timedelta(seconds=2)
    issued = issue_password(Role.DEVICE, "short", valid_days=1, now=soon)
    files = tmp_path / "broker"
    with Database.of(fleet.settings) as database:
        with database.writing() as connection:
            registry.record(connection, issued, issued_by="test")
        keeper = BrokerFilesKeeper(
            settings=EnrolmentSettings(
                authority=fleet.authority_folder, broker_files=files, authority_every_s=1
            ),
            authority=fleet.authority,
            database=database,
            ready=lambda: True,
            log=structlog.get_logger(),
        )
        keeper.start()
        try:
            until((files / "stamp").exists, "written")
            assert "short:" in (files / "device.passwords").read_text()
            assert "user elsewhere" not in (files / "device.acl").read_text()
            with database.writing() as connection:
                registry.revoke(
                    connection, Role.DEVICE, "elsewhere", reason="", actor="x",
                    now=datetime.now(UTC),
                )  # fmt: skip
            until(lambda: "user elsewhere" in (files / "device.acl").read_text(), "mute")
            until(lambda: "short:" not in (files / "device.passwords").read_text(), "expired")
            until(lambda: keeper.well, "well")
        finally:
            keeper.stop()
    fleet.write_broker_files()
    reload(fleet)
    assert handshake(fleet, Role.DEVICE, bundle) is not None
