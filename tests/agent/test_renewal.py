"""Renewal of a device's certificate: when, with what patience, and what is taken for one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from structlog.testing import capture_logs
from support.enrolled import Bundle, Fleet

from edgeqa.certificate_messages import CertificateIssued, CertificateRequest
from edgeqa.errors import BrokerError
from edgeqa.identity.certificate import Identity, read_identity
from edgeqa.identity.roles import Role
from edgeqa.packets import Delivered, Delivery, Outgoing
from edgeqa.tls import CertificateFiles
from edgeqa_agent.identity import OwnIdentity
from edgeqa_agent.renewal import Clocks, Renewal
from edgeqa_agent.renewal_exchange import CertificateExchange
from edgeqa_agent.renewal_plan import due_at, pause_s, worry_at

DAY = timedelta(days=1)
SHARE = 0.33

# A request, and what the cloud says to it; None: nothing.
Cloud = Callable[[CertificateRequest], CertificateIssued | None]


@dataclass
class Device:
    """A renewal whose clock, cloud and broker the test plays."""

    fleet: Fleet
    folder: Path
    days: float = 90.0
    ago: timedelta = timedelta(0)
    cloud: Cloud | None = None
    refusal: BrokerError | None = None
    connected: bool = True
    # From the real time; and the clock that never jumps.
    ahead: timedelta = timedelta(0)
    clock_s: float = 1000.0
    asked: list[CertificateRequest] = field(default_factory=list)
    proven: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bundle = self.fleet.enrol(
            "pi-1", days=self.days, ago=self.ago, folder=self.folder.name
        )
        self.identity = OwnIdentity(
            bundle=self.bundle.files, folder=self.folder / "identity", device="pi-1",
            log=structlog.get_logger(), now=self.now,
        )  # fmt: skip
        self.exchange = CertificateExchange(
            device="pi-1", link=lambda: self, log=structlog.get_logger(), reply_s=0.2
        )
        self.renewal = Renewal(
            identity=self.identity, exchange=self.exchange, prove=self.prove, share=SHARE,
            log=structlog.get_logger(),
            clocks=Clocks(self.now, lambda: self.clock_s, lambda low, high: (low + high) / 2),
        )  # fmt: skip

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def prove(self, files: CertificateFiles) -> None:
        self.proven.append(files.cert.read_bytes())
        if self.refusal is not None:
            raise self.refusal

    def publish(self, message: Outgoing, delivered: Delivered | None = None) -> None:
        assert message.topic == "edgeqa/v1/devices/pi-1/certificate/request"
        assert message.expiry_s is not None
        assert not message.retain
        request = CertificateRequest.model_validate_json(message.payload)
        self.asked.append(request)
        if self.cloud is None:
            assert delivered is not None
            delivered("No matching subscribers")
        elif (reply := self.cloud(request)) is not None:
            self.hear(reply)

    def hear(self, reply: CertificateIssued) -> None:
        self.exchange.on_issued(delivery(reply.to_json()))

    def issue(self, request: CertificateRequest, *, days: float = 90.0) -> CertificateIssued:
        """As the cloud does it."""
        issued = self.fleet.authority.sign_request(
            Role.DEVICE, request.request, name="pi-1", valid_days=days, now=self.now()
        )
        return CertificateIssued(id=request.id, certificate=issued.certificate)

    def turns(self, number: int = 2) -> list[float]:
        """Look so often, each time after the wait."""
        waits = []
        for _ in range(number):
            waits.append(self.renewal.turn())
            self.clock_s += waits[-1]
        return waits

    def until_asked(self, times: int = 1) -> None:
        """Let time pass, as its clock counts it."""
        for _ in range(2000):
            if len(self.asked) >= times:
                return
            self.clock_s += self.renewal.turn()
        raise AssertionError("it does not ask")

    @property
    def renewed(self) -> Identity | None:
        files = CertificateFiles(self.folder / "identity" / "renewed.pem")
        return read_identity(files) if files.cert.exists() else None


def delivery(payload: bytes) -> Delivery:
    return Delivery(
        topic="edgeqa/v1/devices/pi-1/certificate/issued", payload=payload, retain=False,
        redelivered=False, response_topic=None, correlation=None, expiry_s=None, received_at=0.0,
        receipt=None,
    )  # fmt: skip


def make(fleet: Fleet, tmp_path: Path, **options: object) -> Device:
    return Device(fleet, tmp_path, **options)  # type: ignore[arg-type]  # options pass through


def test_a_certificate_that_is_not_due_is_left_alone(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path)
    assert all(0 < wait_s <= 600 for wait_s in device.turns(5))
    device.ahead = -10 * DAY  # a clock that is set back
    assert device.turns()[0] > 0
    assert device.asked == []


def test_one_that_is_due_is_renewed_proven_and_kept(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    device.cloud = device.issue
    device.until_asked()
    renewed = device.renewed
    assert renewed is not None
    assert device.proven == [renewed.files.cert.read_bytes()]
    assert renewed.files == device.identity.files()
    assert renewed.until > device.now() + 89 * DAY
    request = x509.load_pem_x509_csr(device.asked[0].request.encode())
    assert request.subject.rfc4514_string() == "CN=pi-1,OU=device,O=EdgeQA"
    assert request.is_signature_valid
    assert device.turns(3)[-1] > 0
    assert len(device.asked) == 1


def test_a_clock_that_is_set_forward_makes_it_due(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, cloud=None)
    device.turns()
    device.ahead = 80 * DAY
    device.cloud = device.issue
    device.until_asked()
    assert device.renewed is not None


def test_each_device_has_its_own_time_and_keeps_it(fleet: Fleet) -> None:
    bundles = [fleet.enrol(f"pi-{number}") for number in range(20)]
    left = []
    for bundle in bundles:
        identity = read_identity(bundle.files)
        due = due_at(identity, SHARE)
        assert due == due_at(read_identity(bundle.files), SHARE)
        assert due < worry_at(identity, SHARE) < identity.until
        left.append((identity.until - due) / identity.lifetime)
    assert all(0.75 * SHARE <= one <= SHARE for one in left)
    assert len(set(left)) > 15


def test_without_a_cloud_it_asks_more_and_more_seldom(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    begun_s = device.clock_s
    with capture_logs() as logs:
        device.until_asked(40)
    failed = [one for one in logs if one["event"] == "certificate_not_renewed"]
    assert {one["code"] for one in failed} == {"renewal_unanswered"}
    waits = [one["retry_s"] for one in failed]
    assert waits == sorted(waits)
    assert max(waits) <= 6 * 3600
    assert device.clock_s - begun_s > 5 * 86_400
    assert len({request.id for request in device.asked}) == 40


def test_what_is_left_bounds_the_wait() -> None:
    def pause(left: timedelta, *, failures: int = 16, refused: bool = False) -> float:
        return pause_s(failures=failures, refused=refused, left=left, uniform=max)

    assert pause(30 * DAY) == 6 * 3600
    assert pause(30 * DAY, failures=0) == 60
    assert pause(30 * DAY, failures=0, refused=True) == 6 * 3600
    assert pause(timedelta(hours=1)) == 450
    assert pause(timedelta(seconds=1)) == 2
    assert pause(-DAY) == 6 * 3600


def test_who_is_refused_asks_seldom(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    device.cloud = lambda request: CertificateIssued(
        id=request.id, code="not_enrolled", message="pi-1 was revoked"
    )
    with capture_logs() as logs:
        device.until_asked(2)
    (failed, *_) = [one for one in logs if one["event"] == "certificate_not_renewed"]
    assert (failed["code"], failed["reason"]) == ("not_enrolled", "pi-1 was revoked")
    assert failed["retry_s"] > 3600
    assert device.renewed is None


def test_a_broker_that_is_away_is_waited_for(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY, connected=False)
    waits = device.turns(50)
    assert device.asked == []
    assert waits[-1] == 15
    device.connected, device.cloud = True, device.issue
    device.until_asked()
    assert device.renewed is not None


def test_what_was_not_asked_for_is_not_taken(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    other = fleet.enrol("pi-2")

    def anothers(request: CertificateRequest) -> CertificateIssued:
        return CertificateIssued(id=request.id, certificate=other.cert.read_text())

    def for_another_key(request: CertificateRequest) -> CertificateIssued:
        return CertificateIssued(id=request.id, certificate=device.bundle.cert.read_text())

    def anothers_name(request: CertificateRequest) -> CertificateIssued:
        key = x509.load_pem_x509_csr(request.request.encode()).public_key()
        issued = fleet.authority.sign_key(
            Role.DEVICE, key, name="pi-2", valid_days=9, now=device.now()
        )
        return CertificateIssued(id=request.id, certificate=issued.certificate)

    def expired(request: CertificateRequest) -> CertificateIssued:
        key = x509.load_pem_x509_csr(request.request.encode()).public_key()
        issued = fleet.authority.sign_key(
            Role.DEVICE, key, name="pi-1", valid_days=1, now=device.now() - 3 * DAY
        )
        return CertificateIssued(id=request.id, certificate=issued.certificate)

    def garbage(request: CertificateRequest) -> CertificateIssued:
        return CertificateIssued(id=request.id, certificate="-----BEGIN CERTIFICATE-----\nx")

    codes = {
        anothers: "certificate_key_mismatch",
        for_another_key: "certificate_key_mismatch",
        anothers_name: "certificate_of_another",
        expired: "certificate_expired",
        garbage: "certificate_unreadable",
    }
    for number, (cloud, code) in enumerate(codes.items(), start=1):
        device.cloud = cloud
        with capture_logs() as logs:
            device.until_asked(number)
        (failed,) = [one for one in logs if one["event"] == "certificate_not_renewed"]
        assert failed["code"] == code, cloud.__name__
    assert device.proven == []
    assert device.renewed is None


def test_replies_that_nobody_waits_for_change_nothing(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    kept: list[CertificateIssued] = []

    def late(request: CertificateRequest) -> None:
        kept.append(device.issue(request))
        device.hear(CertificateIssued(id="another", code="not_enrolled"))
        for malformed in (b"", b"{}", b"\xff", b'{"id": "x"}', b"x" * 100_000):
            device.exchange.on_issued(delivery(malformed))

    device.cloud = late
    with capture_logs() as logs:
        device.until_asked()
    assert "no reply" in next(
        one["reason"] for one in logs if one["event"] == "certificate_not_renewed"
    )
    device.hear(kept[0])
    device.cloud = device.issue
    device.until_asked(2)
    assert device.renewed is not None


def test_one_that_the_broker_refuses_is_dropped(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    device.cloud = device.issue
    device.refusal = BrokerError("it says no", code="certificate_refused")
    device.until_asked(2)
    assert device.renewed is None
    assert device.identity.files() == device.bundle.files
    assert len(set(device.proven)) == 2
    device.refusal = None
    device.until_asked(3)
    assert device.renewed is not None


def test_one_that_cannot_be_proven_now_is_proven_later(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    device.cloud = device.issue
    device.refusal = BrokerError("no connection")
    device.until_asked()
    device.turns(5)
    assert device.renewed is None
    device.refusal = None
    device.turns(5)
    assert device.renewed is not None
    assert len(device.asked) == 1
    assert len(set(device.proven)) == 1


def test_one_that_cannot_be_written_now_is_written_later(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    device.cloud = device.issue
    (tmp_path / "identity").touch()  # in the way of the folder
    with capture_logs() as logs:
        device.until_asked()
        device.turns(3)
    failed = [one for one in logs if one["event"] == "certificate_not_renewed"]
    assert {one["code"] for one in failed} == {"store_failed"}
    (tmp_path / "identity").unlink()
    device.turns(5)
    assert device.renewed is not None
    assert len(device.asked) == 1


def test_a_new_bundle_ends_a_renewal_under_way(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=70 * DAY)
    device.until_asked()
    again: Bundle = fleet.enrol("pi-1", folder=tmp_path.name)
    assert again.files == device.bundle.files
    device.turns(10)
    assert len(device.asked) == 1


def test_certificates_that_are_always_due_are_not_renewed_all_the_time(
    fleet: Fleet, tmp_path: Path
) -> None:
    """As from an authority that itself expires soon."""
    device = make(fleet, tmp_path, ago=70 * DAY)
    device.cloud = lambda request: device.issue(request, days=1 / 1440)
    begun_s = device.clock_s
    device.until_asked(5)
    assert device.clock_s - begun_s >= 4 * 60


def test_people_are_warned_once_a_day_where_renewal_fails(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=80 * DAY)
    with capture_logs() as logs:
        while device.clock_s < 1000 + 1.5 * 86_400:
            device.clock_s += device.renewal.turn()
    warned = [one for one in logs if one["event"] == "certificate_expires_soon"]
    assert len(warned) == 2
    assert 9 < warned[0]["days_left"] < 10.1
    assert warned[0]["renews"] is True
    device.ahead = 20 * DAY
    device.clock_s += 86_400
    with capture_logs() as logs:
        device.renewal.turn()
    (expired,) = [one for one in logs if one["event"] == "certificate_expired"]
    assert expired["log_level"] == "error"


def test_a_share_of_zero_asks_for_nothing_and_warns(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, ago=89 * DAY)
    renewal = Renewal(
        identity=device.identity, exchange=device.exchange, prove=device.prove, share=0.0,
        log=structlog.get_logger(),
    )  # fmt: skip
    with capture_logs() as logs:
        assert renewal.turn() > 0
    assert device.asked == []
    (warned,) = [one for one in logs if one["event"] == "certificate_expires_soon"]
    assert warned["renews"] is False


def test_it_can_be_stopped_while_it_waits_for_a_reply(fleet: Fleet, tmp_path: Path) -> None:
    device = make(fleet, tmp_path, days=20 / 86_400)
    asked = threading.Event()

    def silent(request: CertificateRequest) -> None:
        del request
        asked.set()

    device.cloud = silent
    exchange = CertificateExchange(
        device="pi-1", link=lambda: device, log=structlog.get_logger(), reply_s=60
    )
    renewal = Renewal(
        identity=device.identity, exchange=exchange, prove=device.prove, share=SHARE,
        log=structlog.get_logger(),
        clocks=Clocks(uniform=min),
    )  # fmt: skip
    renewal.start()
    assert asked.wait(20)
    with capture_logs() as logs:
        renewal.stop()
        renewal.stop()
    assert "certificate_not_renewed" not in {one["event"] for one in logs}
    assert not any(one.name == "renewal" for one in threading.enumerate())
