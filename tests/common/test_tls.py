"""What is said where TLS to the broker fails, over a real broker, and what comes of each."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from support.broker import Broker as PlainBroker
from support.broker import Certificates
from support.enrolled import Bundle, Fleet

from edgeqa.broker import Broker, BrokerSettings, resolve_broker
from edgeqa.errors import BrokerError, ConfigError, ExitCode
from edgeqa.identity.roles import Role
from edgeqa.link_trouble import of_attempt
from edgeqa.mqtt import MqttLink
from edgeqa.tls import CertificateFiles
from edgeqa.tls_proof import prove
from edgeqa_cloud.enrolment.certificates import new_key

WAIT_S = 1.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    made.broker.start()
    yield made
    made.broker.stop()


@pytest.fixture(scope="module")
def pi(fleet: Fleet) -> Bundle:
    return fleet.enrol("pi-1")


def link_to(broker: Broker) -> MqttLink:
    return MqttLink(broker=broker, client_id="pi-1", subscriptions=[], log=structlog.get_logger())


def refusal(broker: Broker) -> BrokerError:
    """What a start says, in one line, and at once where trying again is of no use."""
    with pytest.raises(BrokerError) as caught:
        link_to(broker).start()
    error = caught.value
    assert "\n" not in str(error)
    assert str(error).startswith(f"broker at {broker.host}:{broker.port}: ")
    assert error.exit_code is ExitCode.UNREACHABLE
    return error


def test_with_the_right_certificate_it_connects(fleet: Fleet, pi: Bundle) -> None:
    link = link_to(fleet.address(pi))
    link.start()
    link.stop()
    prove(fleet.address(pi), pi.files, alert_s=0.3)


def revoked(fleet: Fleet) -> Bundle:
    bundle = fleet.enrol("lost")
    fleet.revoke("lost")
    fleet.broker.reload()
    deadline = time.monotonic() + 10
    while "Reloading config" not in fleet.broker.log:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return bundle


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("role", lambda fleet: fleet.enrol("cloud", Role.SERVICE), "that of this role"),
        ("expired", lambda fleet: fleet.enrol("old", days=1, ago=timedelta(days=2)), "has expired"),
        ("early", lambda fleet: fleet.enrol("new", ago=-timedelta(days=2)), "is it valid yet"),
        ("revoked", revoked, "was revoked"),
    ],
)
def test_a_certificate_that_the_broker_refuses(
    fleet: Fleet, name: str, make: Callable[[Fleet], Bundle], words: str
) -> None:
    del name
    bundle = make(fleet)
    error = refusal(fleet.address(bundle, broker_connect_timeout_s=60))
    assert error.code == "certificate_refused"
    assert words in str(error)

    with pytest.raises(BrokerError, match=words) as proof:
        prove(fleet.address(bundle), bundle.files)
    assert proof.value.code == "certificate_refused"


def test_no_certificate_where_one_is_wanted(fleet: Fleet, pi: Bundle) -> None:
    error = refusal(fleet.address(pi, broker_cert_file=None, broker_key_file=None))
    assert error.code == "certificate_refused"
    assert "set broker_cert_file" in str(error)


def test_an_authority_that_is_not_the_brokers(fleet: Fleet, pi: Bundle) -> None:
    other = fleet.authority_folder / "client" / "ca.crt"
    error = refusal(fleet.address(pi, broker_ca_file=other, broker_connect_timeout_s=60))
    assert error.code == "certificate_refused"
    assert f"broker_ca_file {other}" in str(error)

    error = refusal(fleet.address(pi, broker_ca_file=None, broker_connect_timeout_s=60))
    assert "set broker_ca_file" in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "broker.example.org"])
def test_a_name_that_the_brokers_certificate_does_not_have(host: str) -> None:
    code = 64 if host[0].isdigit() else 62  # X509_V_ERR_IP_ADDRESS_MISMATCH, …_HOSTNAME_…
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = code, "mismatch"
    broker = resolve_broker(BrokerSettings(broker=f"mqtts://{host}"))
    failure = of_attempt(error, broker)
    assert (failure.code, failure.final) == ("certificate_refused", True)
    assert f"its certificate is not for {host}" in failure.reason


def test_a_broker_with_the_certificate_of_another_host(
    fleet: Fleet, pi: Bundle, start_broker: Callable[..., PlainBroker], tmp_path: Path
) -> None:
    key = new_key()
    made = fleet.authority.sign_server(
        key.public_key(), hosts=["broker.example.org"], valid_days=1, now=datetime.now(UTC)
    )
    (tmp_path / "ca.crt").write_bytes(pi.ca.read_bytes())
    (tmp_path / "server.crt").write_bytes(made.public_bytes(Encoding.PEM))
    plain = PrivateFormat.PKCS8, NoEncryption()
    (tmp_path / "server.key").write_bytes(key.private_bytes(Encoding.PEM, *plain))
    broker = start_broker(tls=Certificates(tmp_path))
    error = refusal(broker.address(broker_connect_timeout_s=60))
    assert error.code == "certificate_refused"
    assert "its certificate is not for 127.0.0.1: say in `broker` the host" in str(error)


def test_tls_spoken_to_a_plain_port(start_broker: Callable[..., PlainBroker], pi: Bundle) -> None:
    plain = start_broker()
    broker = resolve_broker(
        BrokerSettings(
            broker=f"mqtts://127.0.0.1:{plain.port}",
            broker_ca_file=pi.ca,
            broker_connect_timeout_s=WAIT_S,
        )
    )
    error = refusal(broker)
    assert error.code == "broker_unreachable"
    assert f"port {plain.port} does not speak TLS" in str(error)
    assert "mqtt://" in str(error)


def test_a_tls_port_spoken_to_without(fleet: Fleet) -> None:
    url = fleet.broker.url.replace("mqtts", "mqtt")
    error = refusal(resolve_broker(BrokerSettings(broker=url, broker_connect_timeout_s=WAIT_S)))
    assert error.code == "broker_unreachable"
    assert "say mqtts://" in str(error)


def test_a_host_that_can_be_none_does_not_end_the_network_thread(pi: Bundle) -> None:
    for host in (f"{'a' * 70}.org", ".org"):
        broker = resolve_broker(
            BrokerSettings(
                broker=f"mqtts://{host}", broker_ca_file=pi.ca, broker_connect_timeout_s=0.5
            )
        )
        error = refusal(broker)
        assert error.code == "broker_unreachable"
        with pytest.raises(BrokerError):
            prove(broker, pi.files)


def test_each_connection_is_made_with_the_certificate_as_it_is_then(fleet: Fleet) -> None:
    bundle = fleet.enrol("pi-2")
    link = link_to(fleet.address(bundle))
    link.start()
    first = bundle.cert.read_bytes()
    bundle.cert.write_bytes(b"half of it")  # as by a copy that is under way
    try:
        fleet.broker.restart()
        assert until(lambda: link.connects == 2)  # with what was read before

        again = fleet.enrol("pi-2")
        assert again.cert.read_bytes() != first
        fleet.revoke("pi-2")  # all that was issued so far
        final = fleet.enrol("pi-2")
        assert final.cert == bundle.cert
        fleet.write_broker_files()
        fleet.broker.restart()
        assert until(lambda: link.connects == 3)  # the revoked ones would be refused
    finally:
        link.stop()


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_files_that_are_no_certificate_and_key_are_refused_with_the_setting(
    fleet: Fleet, pi: Bundle, tmp_path: Path
) -> None:
    other = fleet.enrol("pi-3")
    secret = tmp_path / "encrypted.key"
    key = load_pem_private_key(pi.key.read_bytes(), None)
    encrypted = BestAvailableEncryption(b"word")
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted))
    bad: list[tuple[CertificateFiles, str, str]] = [
        (CertificateFiles(pi.cert, other.key), "certificate_key_mismatch", "does not belong"),
        (CertificateFiles(pi.cert, secret), "certificate_unreadable", "encrypted"),
        (CertificateFiles(pi.key, pi.key), "certificate_unreadable", "not a PEM file"),
        (CertificateFiles(tmp_path / "none", pi.key), "certificate_unreadable", "No such file"),
        (CertificateFiles(tmp_path, pi.key), "certificate_unreadable", ""),
    ]
    for files, code, words in bad:
        with pytest.raises(ConfigError, match="broker_cert_file") as caught:
            fleet.address(pi, broker_cert_file=files.cert, broker_key_file=files.key)
        assert caught.value.code == code, files
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_proof_takes_no_session_and_a_broker_that_is_away_says_nothing(
    fleet: Fleet, pi: Bundle
) -> None:
    link = link_to(fleet.address(pi))
    link.start()
    try:
        for _ in range(2):
            prove(fleet.address(pi), pi.files, alert_s=0.3)
        assert link.connected
        assert link.connects == 1
        fleet.broker.stop()
        with pytest.raises(BrokerError) as caught:
            prove(fleet.address(pi), pi.files, alert_s=0.3)
        assert caught.value.code == "broker_unreachable"
    finally:
        fleet.broker.start()
        link.stop()
