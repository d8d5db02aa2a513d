"""Making an authority and opening it: what is half made, damaged or not ours is refused."""

from __future__ import annotations

import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.authority import Authority, Issued
from edgeqa_cloud.enrolment.authority_folder import read_about
from edgeqa_cloud.enrolment.certificates import new_key
from edgeqa_cloud.enrolment.making import make_authority, set_hosts
from edgeqa_cloud.enrolment.refusals import AuthorityError, BadNameError

PHRASE = "correct horse battery"
HOSTS = ["broker.example.org"]
TRICKS = [
    "", "..", ".hidden", "-rf", "a/b", "a b", "a\n", "a\nuser eve", "a:b", "+", "#", "$SYS", "pi:7",
    "pi,CN=admin", "ä", "a\0", "a" * 65, "pi\u202e7", "%u",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, now: datetime) -> Path:
    folder = tmp_path_factory.mktemp("encrypted") / "authority"
    make_authority(folder, hosts=HOSTS, passphrase=PHRASE, now=now)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "authority"))


def test_a_new_authority_opens_with_its_passphrase_and_keeps_its_keys_closed(made: Path) -> None:
    opened = Authority.open(made, PHRASE)
    assert all(opened.has_key(role) for role in Role)
    keys = [one.public_key().public_numbers() for one in opened.certificates.values()]  # type: ignore[union-attr]  # EC keys
    assert len(set(keys)) == len(Role)
    for role in Role:
        key = made / str(role) / "ca.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert b"ENCRYPTED" in key.read_bytes()
        said = opened.certificates[role].subject.rfc4514_string()
        assert said == f"CN=EdgeQA {role} authority,OU={role},O=EdgeQA"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_openssl_reads_a_key_and_finds_the_certificate_in_order(made: Path) -> None:
    for role in Role:
        key = ["openssl", "pkey", "-in", str(made / role / "ca.key"), "-noout", "-passin"]
        subprocess.run([*key, f"pass:{PHRASE}"], check=True, capture_output=True)
        assert subprocess.run([*key, "pass:another"], check=False, capture_output=True).returncode
        certificate = made / str(role) / "ca.crt"
        subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", certificate, certificate],
            check=True, capture_output=True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("passphrase", "code"),
    [("another", "passphrase_wrong"), ("", "passphrase_missing"), (None, "passphrase_missing")],
)
def test_no_other_passphrase_opens_it(made: Path, passphrase: str | None, code: str) -> None:
    with pytest.raises(AuthorityError) as caught:
        Authority.open(made, passphrase)
    assert caught.value.code == code
    assert caught.value.exit_code is ExitCode.CONFIG
    assert PHRASE not in str(caught.value)


def test_an_authority_is_never_overwritten(copy: Path, now: datetime) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(AuthorityError, match="not overwritten") as caught:
        make_authority(copy, hosts=HOSTS, passphrase=PHRASE, now=now)
    assert caught.value.code == "output_exists"
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def remove(*names: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (remove("authority.json"), "authority_damaged"),
        (remove("authority.json", "client", "service"), "authority_damaged"),
        (remove("authority.json", "device", "client", "service"), "no_authority"),
        (remove("device/ca.crt"), "authority_damaged"),
        (remove("service"), "authority_damaged"),
        (lambda folder: (folder / "authority.json").write_text("{"), "authority_damaged"),
        (lambda folder: (folder / "device/ca.key").write_bytes(b""), "authority_damaged"),
        (lambda folder: (folder / "device/ca.crt").write_bytes(b"\0" * 99), "authority_damaged"),
        (lambda folder: (folder / "device/ca.key").chmod(0o644), "key_exposed"),
        (
            lambda folder: shutil.copy(folder / "client/ca.key", folder / "device/ca.key"),
            "authority_damaged",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    copy: Path, now: datetime, harm: Callable[[Path], object], code: str
) -> None:
    harm(copy)
    with pytest.raises(AuthorityError) as caught:
        Authority.open(copy, PHRASE)
    assert caught.value.code == code
    assert str(copy) in str(caught.value)
    if code == "authority_damaged":  # nor is it made good by making another into it
        with pytest.raises(AuthorityError):
            make_authority(copy, hosts=HOSTS, passphrase=PHRASE, now=now)


def test_no_authority_is_there(tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match="authority init"):
        Authority.open(tmp_path / "none", PHRASE)


@pytest.mark.parametrize(
    ("hosts", "passphrase", "code"),
    [
        ([], PHRASE, "invalid_config"),
        (["a b"], PHRASE, "invalid_config"),
        (["mqtts://broker"], PHRASE, "invalid_config"),
        (["broker:8883"], PHRASE, "invalid_config"),
        (["-broker"], PHRASE, "invalid_config"),
        (["*.example.org"], PHRASE, "invalid_config"),
        (["fe80::1%eth0"], PHRASE, "invalid_config"),
        (["a" * 64], PHRASE, "invalid_config"),
        ([f"h{n}" for n in range(65)], PHRASE, "invalid_config"),
        (HOSTS, "short", "passphrase_weak"),
        (HOSTS, "", "passphrase_weak"),
    ],
)
def test_what_makes_no_authority_leaves_no_folder(
    tmp_path: Path, now: datetime, hosts: list[str], passphrase: str, code: str
) -> None:
    folder = tmp_path / "authority"
    with pytest.raises(AuthorityError) as caught:
        make_authority(folder, hosts=hosts, passphrase=passphrase, now=now)
    assert caught.value.code == code
    assert not folder.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path, now: datetime) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "authority", Path("/proc/edgeqa")):
        with pytest.raises(AuthorityError) as caught:
            make_authority(folder, hosts=HOSTS, passphrase=PHRASE, now=now)
        assert caught.value.code == "output_unwritable"


def test_of_many_that_make_it_at_once_one_does(tmp_path: Path, now: datetime) -> None:
    outcomes: list[str] = []
    began = threading.Barrier(4)

    def make(number: int) -> None:
        began.wait()
        try:
            make_authority(
                tmp_path / "authority",
                hosts=[f"h{number}"],
                passphrase=f"{PHRASE}{number}",
                now=now,
            )
            outcomes.append(str(number))
        except AuthorityError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [one for one in outcomes if one.isdigit()]
    assert len(won) == 1
    assert set(outcomes) <= {*won, "output_exists", "authority_damaged"}
    # Nobody wrote into it what is another's.
    opened = Authority.open(tmp_path / "authority", f"{PHRASE}{won[0]}")
    assert opened.about.hosts == (f"h{won[0]}",)


@pytest.mark.parametrize("role", Role)
def test_a_key_kept_elsewhere_stops_its_role_alone(copy: Path, now: datetime, role: Role) -> None:
    (copy / str(role) / "ca.key").unlink()
    opened = Authority.open(copy, PHRASE)
    for other in Role:
        if other is not role:
            assert sign(opened, other, "one", now).role is other
    with pytest.raises(AuthorityError, match="is not here") as caught:
        sign(opened, role, "one", now)
    assert caught.value.code == "key_missing"


@pytest.mark.parametrize("name", TRICKS, ids=repr)
def test_names_with_tricks_get_nothing(authority: Authority, now: datetime, name: str) -> None:
    with pytest.raises(BadNameError) as caught:
        sign(authority, Role.DEVICE, name, now)
    assert "\n" not in str(caught.value)


def test_a_certificate_says_who_it_is_and_allows_nothing_else(
    authority: Authority, now: datetime
) -> None:
    issued = sign(authority, Role.DEVICE, "pi-7", now, days=90)
    made = x509.load_pem_x509_certificate(issued.certificate.encode())
    assert made.subject.rfc4514_string() == "CN=pi-7,OU=device,O=EdgeQA"
    assert issued.serial == f"{made.serial_number:x}"
    assert issued.expires == made.not_valid_after_utc == now + timedelta(days=90)
    assert made.not_valid_before_utc == now - timedelta(hours=1)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign | usage.crl_sign
    made.verify_directly_issued_by(authority.certificates[Role.DEVICE])
    for other in (Role.CLIENT, Role.SERVICE):
        with pytest.raises((ValueError, EdgeqaError)):
            made.verify_directly_issued_by(authority.certificates[other])


def test_a_service_cannot_pose_as_the_broker(authority: Authority, now: datetime) -> None:
    """Its certificate is of the authority that everybody trusts to name the broker."""
    store = Store([authority.certificates[Role.SERVICE]])
    posing = sign(authority, Role.SERVICE, "localhost", now)
    server = authority.sign_server(
        new_key().public_key(), hosts=["localhost"], valid_days=1, now=now
    )
    verifier = (
        PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName("localhost"))
    )
    assert verifier.verify(server, [])
    with pytest.raises(VerificationError):
        verifier.verify(x509.load_pem_x509_certificate(posing.certificate.encode()), [])


def test_nothing_outlives_its_authority(tmp_path: Path, now: datetime) -> None:
    made = make_authority(tmp_path / "a", hosts=HOSTS, passphrase=None, now=now, days=10)
    assert sign(made, Role.DEVICE, "pi", now, days=90).expires == now + timedelta(days=10)
    with pytest.raises(AuthorityError) as caught:
        sign(made, Role.DEVICE, "pi", now + timedelta(days=10))
    assert caught.value.code == "authority_expired"


def test_hosts_are_said_anew_and_told_to_whoever_has_it_open(copy: Path) -> None:
    opened = Authority.open(copy, PHRASE)
    set_hosts(opened, ["New.Example.org", "2001:DB8::1", "10.0.0.5", "10.0.0.5"])
    hosts = ("new.example.org", "2001:db8::1", "10.0.0.5")
    assert opened.reread().about.hosts == read_about(copy).hosts == hosts
    with pytest.raises(AuthorityError):
        set_hosts(opened, ["a b"])
    assert read_about(copy).hosts == hosts


def sign(
    authority: Authority, role: Role, name: str, now: datetime, *, days: float = 30.0
) -> Issued:
    return authority.sign_key(role, new_key().public_key(), name=name, valid_days=days, now=now)
