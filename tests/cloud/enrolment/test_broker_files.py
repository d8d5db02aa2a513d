"""The broker's files: made from the registry, signed in time, the same from the same."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.broker_files import (
    Lifetimes,
    Written,
    access_rules,
    password_file,
    write_broker_files,
)
from edgeqa_cloud.enrolment.broker_server import read_server
from edgeqa_cloud.enrolment.broker_settings import BrokerView
from edgeqa_cloud.enrolment.certificates import new_key
from edgeqa_cloud.enrolment.enrolment_metrics import file_ends
from edgeqa_cloud.enrolment.making import make_authority, set_hosts
from edgeqa_cloud.enrolment.membership import Membership
from edgeqa_cloud.enrolment.passwords import hash_for_broker, issue_password
from edgeqa_cloud.enrolment.refusals import AuthorityError

NOBODY = {role: Membership((), (), ()) for role in Role}
HASHED = hash_for_broker("secret", salt=b"0" * 12)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, now: datetime) -> Authority:
    folder = tmp_path_factory.mktemp("kept")
    return make_authority(folder, hosts=["localhost", "10.0.0.5"], passphrase=None, now=now)


@pytest.fixture
def own(kept: Authority, tmp_path: Path) -> Authority:
    """One that a test may change."""
    return Authority.open(Path(shutil.copytree(kept.folder, tmp_path / "own")), None)


def write(
    authority: Authority,
    folder: Path,
    now: datetime,
    members: dict[Role, Membership] | None = None,
    **lifetimes: float,
) -> Written:
    return write_broker_files(
        folder,
        authority,
        members or NOBODY,
        view=BrokerView(files=folder),
        lifetimes=Lifetimes(**lifetimes),  # type: ignore[arg-type]  # days alone
        now=now,
    )


def crl(folder: Path, role: Role = Role.DEVICE) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl((folder / f"{role}.crl").read_bytes())


def revoked(*serials: int, at: datetime) -> dict[Role, Membership]:
    listed = tuple((serial, at) for serial in serials)
    return {**NOBODY, Role.DEVICE: Membership((), listed, ())}


def test_the_same_makes_the_same(kept: Authority, now: datetime, tmp_path: Path) -> None:
    first = write(kept, tmp_path, now)
    assert len(first.changed) == 15
    stamp = (tmp_path / "stamp").read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert write(kept, tmp_path, now + timedelta(hours=1)) == Written([], [])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    changed = write(kept, tmp_path, now, revoked(7, at=now)).changed
    assert changed == ["device.crl"]
    assert (tmp_path / "stamp").read_text() != stamp


def test_secrets_are_for_their_owner_or_for_the_folders_group(
    kept: Authority, now: datetime, tmp_path: Path
) -> None:
    secret = {"server.key", *(f"{role}.{end}" for role in Role for end in ("acl", "passwords"))}
    for mode, wanted in ((0o700, 0o600), (0o2750, 0o640), (0o700, 0o600)):
        tmp_path.chmod(mode)
        write(kept, tmp_path, now)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert {name for name, one in modes.items() if one == wanted} == secret
        assert {one for name, one in modes.items() if name not in secret} == {0o644}


def test_a_list_is_signed_again_at_half_of_its_time(
    kept: Authority, now: datetime, tmp_path: Path
) -> None:
    write(kept, tmp_path, now, revocations=30.0)
    assert write(kept, tmp_path, now + timedelta(days=14.9)).changed == []
    again = write(kept, tmp_path, now + timedelta(days=15.1)).changed
    assert again == [f"{role}.crl" for role in Role]
    assert crl(tmp_path).next_update_utc == now + timedelta(days=45.1)


def test_each_list_is_later_than_the_one_before_it_also_within_a_second(
    kept: Authority, now: datetime, tmp_path: Path
) -> None:
    """A broker that reads its files again holds both, and goes by the later one."""
    lists = []
    for count in range(4):
        write(kept, tmp_path, now, revoked(*range(1, count + 1), at=now))
        lists.append(crl(tmp_path))
        assert {one.serial_number for one in lists[-1]} == set(range(1, count + 1))
    times = [one.last_update_utc for one in lists]
    assert times == sorted(set(times))
    assert times[-1] <= now


def test_nothing_of_the_future_stays_when_a_clock_is_set_back(
    kept: Authority, now: datetime, tmp_path: Path
) -> None:
    """With the right time, nobody takes a list or a certificate that is not valid yet."""
    write(kept, tmp_path, now + timedelta(days=2))
    assert set(write(kept, tmp_path, now).changed) == {
        *(f"{role}.crl" for role in Role), "server.crt",
    }  # fmt: skip
    server = read_server(tmp_path)
    assert server is not None
    assert server.not_valid_before_utc <= now
    assert all(crl(tmp_path, role).last_update_utc <= now for role in Role)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_is_the_folders_owners(
    kept: Authority, now: datetime, tmp_path: Path
) -> None:
    """Mosquitto takes rules that it cannot read for none, and allows everything."""
    write(kept, tmp_path, now)
    os.chown(tmp_path, 10001, 10002)
    assert len(write(kept, tmp_path, now).changed) == 15
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()}
    assert owners == {(10001, 10002)}
    assert write(kept, tmp_path, now) == Written([], [])


def test_openssl_refuses_by_the_list_and_takes_the_others(
    kept: Authority, now: datetime, tmp_path: Path
) -> None:
    issued = {
        name: kept.sign_key(Role.DEVICE, new_key().public_key(), name=name, valid_days=9, now=now)
        for name in ("good", "bad")
    }
    write(kept, tmp_path, now, revoked(int(issued["bad"].serial, 16), at=now))
    said = {}
    for name, one in issued.items():
        (tmp_path / name).write_text(one.certificate)
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-crl_check",
             "-CAfile", "device-ca.crt", "-CRLfile", "device.crl", name],
            cwd=tmp_path, check=False, capture_output=True, text=True,
        )  # fmt: skip
        said[name] = done.stdout + done.stderr
    assert said["good"].strip() == "good: OK"
    assert "certificate revoked" in said["bad"]


def test_the_brokers_certificate_is_renewed_with_its_key_and_follows_the_hosts(
    own: Authority, now: datetime, tmp_path: Path
) -> None:
    folder = tmp_path / "broker"
    write(own, folder, now, server=90.0)
    key = (folder / "server.key").read_bytes()
    assert write(own, folder, now + timedelta(days=59), server=90.0, revocations=400).changed == [
        f"{role}.crl" for role in Role
    ]
    assert write(own, folder, now + timedelta(days=61), server=90.0).changed == ["server.crt"]
    assert (folder / "server.key").read_bytes() == key
    set_hosts(own, ["broker.example.org", "2001:DB8::5"])
    assert write(own.reread(), folder, now + timedelta(days=61)).changed == ["server.crt"]
    assert write(own.reread(), folder, now + timedelta(days=61)).changed == []
    server = read_server(folder)
    assert server is not None
    named = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert named.get_values_for_type(x509.DNSName) == ["broker.example.org"]
    (folder / "server.key").unlink()
    assert write(own.reread(), folder, now + timedelta(days=61)).changed == [
        "server.key", "server.crt",
    ]  # fmt: skip
    assert (folder / "server.key").read_bytes() != key


@pytest.mark.parametrize("harm", ["", "garbage", "another's"])
@pytest.mark.parametrize(
    "name", ["server.key", "server.crt", "device.crl", "device-ca.crt", "device.acl", "stamp"]
)
def test_whatever_happens_to_a_file_it_is_made_good(
    own: Authority, authority: Authority, now: datetime, name: str, harm: str
) -> None:
    folder, other = own.folder / "broker", own.folder / "other"
    write(own, folder, now)
    if harm == "another's":
        write(authority, other, now)
        shutil.copy(other / name, folder / name)
    else:
        (folder / name).write_text(harm)
    write(own, folder, now)
    ca, server = own.certificates[Role.SERVICE], read_server(folder)
    assert server is not None
    server.verify_directly_issued_by(ca)
    assert crl(folder).is_signature_valid(own.certificates[Role.DEVICE].public_key())  # type: ignore[arg-type]
    assert write(own, folder, now) == Written([], [])
    assert set(file_ends(own, folder)) == {"server.crt", *(f"{role}.crl" for role in Role)}


def test_without_a_key_the_rest_is_written_and_what_waits_is_said(
    own: Authority, now: datetime, tmp_path: Path
) -> None:
    folder = tmp_path / "broker"
    write(own, folder, now)
    old = (folder / "device.crl").read_bytes()
    (own.folder / "device" / "ca.key").unlink()
    (own.folder / "service" / "ca.key").unlink()
    without = Authority.open(own.folder, None)
    members = {**NOBODY, Role.DEVICE: Membership(("pi-7",), ((7, now),), (("pi-8", HASHED),))}
    written = write(without, folder, now, members)
    assert written.changed == ["device.acl", "device.passwords"]
    assert len(written.waiting) == 1
    assert "device.crl" in written.waiting[0]
    assert str(own.folder / "device" / "ca.key") in written.waiting[0]
    assert (folder / "device.crl").read_bytes() == old
    assert b"user pi-7\ntopic deny #\n" in (folder / "device.acl").read_bytes()


def test_no_name_and_no_hash_writes_a_line_of_its_own(now: datetime) -> None:
    """The registry's rows come from us; should they not, they let nobody in."""
    tricks = ["a\nuser admin", "a\ntopic readwrite #", "a b", "#", "+", "", "a:b", "../a"]
    rules = access_rules(Role.DEVICE, [*tricks, "pi-7"]).decode()
    plain = access_rules(Role.DEVICE, []).decode()
    more = [line for line in rules.splitlines() if line not in plain.splitlines()]
    assert more == ["user pi-7", "topic deny #", "topic deny $SYS/#"]
    assert password_file([(name, HASHED) for name in tricks]) == b""
    hashes = ["", "plain", "$6$x$y", f"{HASHED}\nadmin:{HASHED}", "$7$x$y$z", f"{HASHED}:x"]
    assert password_file([("pi-7", one) for one in hashes]) == b""
    assert password_file([("pi-7", HASHED)]) == f"pi-7:{HASHED}\n".encode()


def test_a_folder_that_cannot_be_written_is_said_in_one_line(
    kept: Authority, now: datetime, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "broker", Path("/proc/broker")):
        with pytest.raises(AuthorityError) as caught:
            write(kept, folder, now)
        assert caught.value.code == "output_unwritable"
        assert "\n" not in str(caught.value)


def test_mosquittos_own_tool_makes_the_same_of_a_password(tmp_path: Path, now: datetime) -> None:
    """Hash again with the salt that `mosquitto_passwd` chose."""
    issued = issue_password(Role.DEVICE, "pi-7", valid_days=1, now=now)
    path = tmp_path / "passwords"
    path.write_text(f"pi-7:{issued.password}\n")
    subprocess.run(["mosquitto_passwd", "-U", path], check=True, capture_output=True)
    theirs = path.read_text().strip().removeprefix("pi-7:")
    salt = base64.b64decode(theirs.split("$")[3])
    assert hash_for_broker(issued.password, salt=salt) == theirs
    assert issued.hashed != theirs
    assert issued.hashed.split("$")[1:3] == theirs.split("$")[1:3]
