"""What an agent proves itself with: judged at the start, the newer of bundle and renewed used."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs
from support.broker import make_certificates
from support.enrolled import BACKDATED, Bundle, Fleet

from edgeqa.errors import ExitCode
from edgeqa.identity.certificate import IdentityError, read_identity
from edgeqa.identity.roles import Role
from edgeqa.tls import CertificateFiles
from edgeqa_agent.identity import OwnIdentity
from edgeqa_agent.settings import AgentSettings

DAY = timedelta(days=1)


def own(bundle: Bundle, folder: Path, *, device: str = "pi-1") -> OwnIdentity:
    return OwnIdentity(
        bundle=bundle.files, folder=folder / "identity", device=device, log=structlog.get_logger()
    )


def one_file(bundle: Bundle) -> bytes:
    return bundle.key.read_bytes() + bundle.cert.read_bytes()


def refused(identity: OwnIdentity) -> IdentityError:
    with pytest.raises(IdentityError) as caught:
        identity.check()
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_good_bundle_is_used(fleet: Fleet, tmp_path: Path) -> None:
    bundle = fleet.enrol("pi-1")
    best = own(bundle, tmp_path).check()
    assert (best.name, best.role, best.files) == ("pi-1", Role.DEVICE, bundle.files)
    assert best.fingerprint == bundle.issued.fingerprint
    assert best.lifetime == timedelta(days=30) + BACKDATED
    assert not (tmp_path / "identity").exists()


def test_what_the_broker_would_refuse_ends_the_start(fleet: Fleet, tmp_path: Path) -> None:
    expired = refused(own(fleet.enrol("pi-1", days=1, ago=3 * DAY), tmp_path))
    assert expired.code == "certificate_expired"
    assert expired.exit_code is ExitCode.CONFIG
    assert "edgeqa cloud enrol pi-1 --again" in str(expired)

    early = refused(own(fleet.enrol("pi-1", ago=-3 * DAY), tmp_path))
    assert early.code == "certificate_not_yet_valid"
    assert early.exit_code is ExitCode.UNREACHABLE  # the clock may be set by itself
    assert "set the clock" in str(early)

    another = refused(own(fleet.enrol("pi-2"), tmp_path))
    assert (another.code, another.exit_code) == ("certificate_of_another", ExitCode.CONFIG)
    assert "set `device` to pi-2, or copy the bundle of pi-1" in str(another)

    role = refused(own(fleet.enrol("pi-1", Role.CLIENT, folder="client"), tmp_path))
    assert role.code == "certificate_of_another"
    assert "the client pi-1" in str(role)


def test_files_that_are_none(fleet: Fleet, tmp_path: Path) -> None:
    good, other = fleet.enrol("pi-1"), fleet.enrol("pi-2")
    encrypted = tmp_path / "encrypted.key"
    key = load_pem_private_key(good.key.read_bytes(), None)
    how = BestAvailableEncryption(b"word")
    encrypted.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    huge = tmp_path / "huge"
    huge.write_bytes(b"x" * (1 << 20))
    cut = tmp_path / "cut.crt"
    cut.write_bytes(good.cert.read_bytes()[:-100])
    empty = tmp_path / "empty"
    empty.touch()
    cases = {
        CertificateFiles(good.cert, other.key): "certificate_key_mismatch",
        CertificateFiles(good.cert, encrypted): "certificate_unreadable",
        CertificateFiles(good.cert, good.cert): "certificate_unreadable",
        CertificateFiles(good.cert): "certificate_unreadable",
        **dict.fromkeys(
            [CertificateFiles(path, good.key)
             for path in (tmp_path / "none", tmp_path, pipe, huge, cut, empty, good.key)],
            "certificate_unreadable",
        ),
    }  # fmt: skip
    for files, code in cases.items():
        with pytest.raises(IdentityError) as caught:
            read_identity(files)
        assert caught.value.code == code, files
        assert str(caught.value).startswith(str(tmp_path)) or str(fleet.folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_certificate_of_nobodys_authority_is_not_asked_for_a_name(tmp_path: Path) -> None:
    cert, key = make_certificates(tmp_path).client
    identity = OwnIdentity(
        bundle=CertificateFiles(cert, key),
        folder=tmp_path / "identity",
        device="pi-1",
        log=structlog.get_logger(),
    )
    assert identity.check().role is None


def test_the_newer_of_bundle_and_renewed_is_used(fleet: Fleet, tmp_path: Path) -> None:
    bundle = fleet.enrol("pi-1", days=90, ago=70 * DAY)
    renewed = fleet.enrol("pi-1", days=90, ago=10 * DAY, folder="renewed")
    identity = own(bundle, tmp_path)
    assert identity.check().files == bundle.files

    identity.adopt(one_file(renewed))
    path = tmp_path / "identity" / "renewed.pem"
    assert identity.files() == CertificateFiles(path)
    assert own(bundle, tmp_path).check().fingerprint == renewed.issued.fingerprint
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700

    again = fleet.enrol("pi-1", days=90, ago=1 * DAY)
    assert again.files == bundle.files
    assert identity.files() == bundle.files  # at the next connect, without a restart


def test_one_that_is_valid_is_used_before_a_newer_one_that_is_not(
    fleet: Fleet, tmp_path: Path
) -> None:
    bundle = fleet.enrol("pi-1", days=90, ago=10 * DAY)
    identity = own(bundle, tmp_path)
    identity.adopt(one_file(fleet.enrol("pi-1", days=1, ago=5 * DAY, folder="expired")))
    assert identity.check().files == bundle.files
    identity.adopt(one_file(fleet.enrol("pi-1", ago=-5 * DAY, folder="early")))
    assert identity.check().files == bundle.files  # a clock that was set back
    expired = fleet.enrol("pi-1", days=1, ago=9 * DAY)
    assert expired.files == bundle.files
    assert refused(identity).code == "certificate_not_yet_valid"


def test_an_expired_bundle_does_not_matter_once_it_was_renewed(
    fleet: Fleet, tmp_path: Path
) -> None:
    bundle = fleet.enrol("pi-1", days=1, ago=9 * DAY)
    identity = own(bundle, tmp_path)
    assert refused(identity).code == "certificate_expired"
    identity.adopt(one_file(fleet.enrol("pi-1", folder="renewed")))
    assert identity.check().until > datetime.now(UTC) + 20 * DAY


def test_what_was_renewed_is_passed_over_if_it_is_damaged_or_anothers(
    fleet: Fleet, tmp_path: Path
) -> None:
    bundle = fleet.enrol("pi-1", ago=1 * DAY)
    path = tmp_path / "identity" / "renewed.pem"
    path.parent.mkdir()
    newer = one_file(fleet.enrol("pi-1", folder="newer"))
    for content in (b"", newer[: len(newer) // 2], b"\0" * 4096,
                    one_file(fleet.enrol("pi-2"))):  # fmt: skip
        path.write_bytes(content)
        with capture_logs() as logs:
            identity = own(bundle, tmp_path)
            assert identity.check().files == bundle.files
            identity.files()  # it is not said again at each connect
        assert [one["event"] for one in logs if one["log_level"] == "warning"] == [
            "certificate_passed_over"
        ]
    path.unlink()
    path.mkdir()
    assert own(bundle, tmp_path).check().files == bundle.files


def test_a_damaged_bundle_does_not_end_a_device_that_has_renewed(
    fleet: Fleet, tmp_path: Path
) -> None:
    bundle = fleet.enrol("pi-1", folder="damaged")
    identity = own(bundle, tmp_path)
    identity.adopt(one_file(fleet.enrol("pi-1", folder="renewed")))
    bundle.cert.write_bytes(b"")
    assert identity.check().files.cert.name == "renewed.pem"
    shutil.rmtree(tmp_path / "identity")
    assert refused(identity).code == "certificate_unreadable"


def test_the_bundle_of_another_device_is_refused_whatever_was_renewed(
    fleet: Fleet, tmp_path: Path
) -> None:
    identity = own(fleet.enrol("pi-2"), tmp_path)
    identity.adopt(one_file(fleet.enrol("pi-1", folder="renewed")))
    assert refused(identity).code == "certificate_of_another"


def test_keys_that_a_power_cut_left_over_are_removed(fleet: Fleet, tmp_path: Path) -> None:
    identity = own(fleet.enrol("pi-1"), tmp_path)
    identity.adopt(one_file(fleet.enrol("pi-1", folder="renewed")))
    leftover = tmp_path / "identity" / ".renewed.pem.x7"
    leftover.write_bytes(b"a key")
    identity.check()
    assert not leftover.exists()
    assert (tmp_path / "identity" / "renewed.pem").exists()


def test_a_key_that_everybody_may_read_is_warned_of(fleet: Fleet, tmp_path: Path) -> None:
    bundle = fleet.enrol("pi-1")
    for mode, warned in ((0o600, False), (0o640, False), (0o644, True)):
        bundle.key.chmod(mode)
        with capture_logs() as logs:
            own(bundle, tmp_path).check()
        assert ("key_open_to_all" in {one["event"] for one in logs}) is warned


def test_an_agent_without_a_certificate_has_no_identity(fleet: Fleet, tmp_path: Path) -> None:
    log = structlog.get_logger()
    assert OwnIdentity.of(AgentSettings(), log) is None
    bundle = fleet.enrol("pi-1")
    settings = AgentSettings(
        broker="mqtts://localhost", broker_cert_file=bundle.cert, broker_key_file=bundle.key,
        device="pi-1", state_dir=tmp_path,
    )  # fmt: skip
    identity = OwnIdentity.of(settings, log)
    assert identity is not None
    assert identity.check().name == "pi-1"
