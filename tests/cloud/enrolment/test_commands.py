"""`edgeqa cloud authority`, `enrol`, `revoke` and `enrolled`, as somebody at a shell has them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from typer.testing import CliRunner, Result

from edgeqa.errors import EdgeqaError
from edgeqa.identity.roles import Role
from edgeqa.settings import load_settings
from edgeqa_agent.settings import AgentSettings
from edgeqa_cloud.cli import app
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment.tables import credentials
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.rollout.tables import audit
from edgeqa_cloud.settings import CloudSettings, DatabaseSettings

PHRASE = "correct horse battery"


@dataclass(frozen=True)
class Shell:
    """Somebody with a database and an authority."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "EDGEQA_CLOUD_DATABASE": f"sqlite:///{self.folder / 'cloud.db'}",
            "EDGEQA_CLOUD_AUTHORITY": str(self.folder / "authority"),
            "EDGEQA_CLOUD_AUTHORITY_PASSPHRASE_FILE": str(self.folder / "passphrase"),
        }

    @property
    def broker(self) -> Path:
        return self.folder / "authority" / "broker"

    def run(self, *command: str, **environment: str) -> Result:
        found = CliRunner().invoke(app, command, env=self.environment | environment)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            assert isinstance(found.exception, EdgeqaError), found.exception
        return found

    def ok(self, *command: str, **environment: str) -> str:
        found = self.run(*command, **environment)
        assert found.exit_code == 0, (found.output, found.exception)
        return found.stdout

    def refused(self, code: str, *command: str, **environment: str) -> str:
        """In one line, by a code."""
        error = self.run(*command, **environment).exception
        assert isinstance(error, EdgeqaError), error
        assert error.code == code
        said = str(error)
        assert "\n" not in said
        assert PHRASE not in said
        return said

    def enrol(self, name: str, *more: str) -> Path:
        self.ok("enrol", name, "--output", str(self.folder / "bundles"), *more)
        return self.folder / "bundles" / name

    @property
    def database(self) -> Database:
        settings = DatabaseSettings(database=self.environment["EDGEQA_CLOUD_DATABASE"])
        return Database.of(settings)

    def rows(self) -> int:
        with self.database as database, database.reading() as connection:
            return len(connection.execute(select(credentials)).all())


def template(folder: Path, *more: str) -> Path:
    (folder / "passphrase").write_text(f"{PHRASE}\n")
    made = Shell(folder)
    with made.database as database:
        migrate(database)
    hosts = ("--broker-host", "broker.example.org", "--broker-host", "10.0.0.5")
    made.ok("authority", "init", *hosts, *more)
    return folder


@pytest.fixture(scope="module")
def open_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("open"), "--no-passphrase")


@pytest.fixture(scope="module")
def locked_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("locked"))


@pytest.fixture
def shell(open_template: Path, tmp_path: Path) -> Shell:
    """Its keys are not encrypted: opening them takes most of a command's time."""
    return Shell(Path(shutil.copytree(open_template, tmp_path / "site")))


@pytest.fixture
def locked_shell(locked_template: Path, tmp_path: Path) -> Shell:
    return Shell(Path(shutil.copytree(locked_template, tmp_path / "site")))


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.name: (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in folder.iterdir()
    }


def test_a_device_has_all_that_it_needs(shell: Shell) -> None:
    folder = shell.enrol("pi-7", "--group", "hall", "--group", "berlin")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = contents(folder)
    assert {name: mode for name, (mode, _) in found.items()} == {
        "agent.toml": 0o644, "ca.crt": 0o644, "identity.crt": 0o644, "identity.key": 0o600,
    }  # fmt: skip
    settings = load_settings(AgentSettings, file=folder / "agent.toml", environ={})
    assert settings.device == settings.broker_username == "pi-7"
    assert settings.broker == "mqtts://broker.example.org:8883"
    assert settings.groups == ["hall", "berlin"]
    for field, name in (("ca", "ca.crt"), ("cert", "identity.crt"), ("key", "identity.key")):
        assert getattr(settings, f"broker_{field}_file") == Path("/etc/edgeqa") / name
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("role", "port", "prefixes"),
    [
        ("client", 8884, ("EDGEQA_CLIENT_",)),
        ("service", 8885, ("EDGEQA_CLIENT_", "EDGEQA_CLOUD_")),
    ],
)
def test_others_have_an_environment(
    shell: Shell, role: str, port: int, prefixes: tuple[str, ...]
) -> None:
    folder = shell.enrol("anna", f"--{role}", "--at", "/home/anna/edgeqa", "--broker-port", "1")
    lines = (folder / f"{role}.env").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert {one.rpartition("BROKER")[0] for one in told if one.endswith("BROKER")} == set(prefixes)
    for prefix in prefixes:
        assert told[f"{prefix}BROKER"] == "mqtts://broker.example.org:1"
        assert told[f"{prefix}BROKER_KEY_FILE"] == "/home/anna/edgeqa/identity.key"
    if role == "service":
        cloud = {key: value for key, value in told.items() if key.startswith("EDGEQA_CLOUD_")}
        assert load_settings(CloudSettings, environ=cloud).broker_username == "anna"
    usual = shell.enrol("bert", f"--{role}")
    assert f":{port}\n" in (usual / f"{role}.env").read_text()


def test_a_password_is_told_once_and_to_the_broker(shell: Shell) -> None:
    folder = shell.enrol("pi-7", "--password", "--days", "2")
    found = contents(folder)
    assert set(found) == {"agent.toml", "ca.crt", "password"}
    mode, content = found["password"]
    assert mode == 0o600
    assert tomllib.loads(found["agent.toml"][1].decode())["broker"].endswith(":8893")
    password = content.decode().strip()
    assert (shell.broker / "device.passwords").read_text().startswith("pi-7:$7$")
    with shell.database as database, database.reading() as connection:
        kept = str(connection.execute(select(credentials)).all())
        kept += str(connection.execute(select(audit)).all())
    assert password not in kept


def test_a_device_that_keeps_its_key_sends_a_request(shell: Shell, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pi-7")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    file = tmp_path / "pi-7.csr"
    file.write_bytes(request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    shell.refused("bad_signing_request", "enrol", "pi-8", "--csr", str(file))
    folder = shell.enrol("pi-7", "--csr", str(file))
    assert set(contents(folder)) == {"agent.toml", "ca.crt", "identity.crt"}
    made = x509.load_pem_x509_certificate((folder / "identity.crt").read_bytes())
    assert made.public_key() == key.public_key()


def test_the_repository_comes_along_where_a_device_can_reach_it(
    shell: Shell, tmp_path: Path
) -> None:
    root = tmp_path / "root.json"
    root.write_text('{"signed": 1}')
    mine = ("--repository", str(tmp_path), "--repository-root", str(root))
    there = ("--device-repository", "https://packages.example.org/repo")
    assert set(contents(shell.enrol("pi-1", *mine))) == {
        "agent.toml", "ca.crt", "identity.crt", "identity.key",
    }  # fmt: skip
    folder = shell.enrol("pi-2", *mine, *there)
    assert contents(folder)["repository-root.json"] == (0o644, root.read_bytes())
    settings = load_settings(AgentSettings, file=folder / "agent.toml", environ={})
    assert settings.repository == "https://packages.example.org/repo"
    assert settings.repository_root == Path("/etc/edgeqa/repository-root.json")
    assert "repository-root.json" not in contents(shell.enrol("anna", "--client", *mine, *there))
    gone = (*mine[:3], str(tmp_path / "gone"))
    shell.refused("invalid_config", "enrol", "pi-3", *gone, *there)


def test_twice_is_once_unless_wished_again(shell: Shell) -> None:
    shell.enrol("pi-7")
    said = shell.refused(
        "output_exists", "enrol", "pi-7", "--output", str(shell.folder / "bundles")
    )
    assert "--output" in said
    elsewhere = shell.folder / "elsewhere"
    said = shell.refused("already_enrolled", "enrol", "pi-7", "--output", str(elsewhere))
    assert "--again" in said
    assert list(elsewhere.iterdir()) == []
    assert shell.rows() == 1
    shell.ok("enrol", "pi-7", "--again", "--output", str(elsewhere))
    assert shell.rows() == 2
    # Another role's is another.
    shell.ok("enrol", "pi-7", "--client", "--output", str(shell.folder / "third"))


def test_a_client_and_a_service_do_not_share_a_name(shell: Shell) -> None:
    """Both are answered below it, so each would read what the other is told."""
    shell.enrol("cloud", "--service")
    said = shell.refused(
        "already_enrolled", "enrol", "cloud", "--client", "--output", str(shell.folder / "else")
    )
    assert "'cloud' is the name of a service" in said
    assert not (shell.folder / "else" / "cloud").exists()
    shell.enrol("panel", "--client")
    shell.refused("already_enrolled", "enrol", "panel", "--service", "--again", "--output",
                  str(shell.folder / "else"))  # fmt: skip
    rows = shell.rows()
    shell.ok(
        "enrol", "panel", "--output", str(shell.folder / "else")
    )  # a device is not answered there
    assert shell.rows() == rows + 1


def test_a_revoked_device_is_mute_listed_and_may_come_back(shell: Shell) -> None:
    serial = x509.load_pem_x509_certificate(
        (shell.enrol("pi-7") / "identity.crt").read_bytes()
    ).serial_number
    shell.enrol("pi-8")
    assert "1 certificate, 0 passwords" in shell.ok("revoke", "pi-7", "--reason", "stolen\x1b[31m")
    rules = (shell.broker / "device.acl").read_text()
    assert "user pi-7\ntopic deny #\n" in rules
    listed = x509.load_pem_x509_crl((shell.broker / "device.crl").read_bytes())
    assert [one.serial_number for one in listed] == [serial]
    shell.refused("not_enrolled", "revoke", "pi-7")
    shell.refused("not_enrolled", "revoke", "pi-8", "--client")
    shell.refused("not_enrolled", "revoke", "pi-9")
    lines = shell.ok("enrolled").splitlines()
    assert [line.split()[1:3] for line in lines] == [["pi-7", "revoked"], ["pi-8", "valid"]]
    assert "stolen" in lines[0]
    assert "\x1b" not in lines[0]
    back = shell.run("enrol", "pi-7", "--output", str(shell.folder / "back"))
    assert "restart the broker" in back.stderr
    assert "user pi-7" not in (shell.broker / "device.acl").read_text()
    listed_again = shell.ok("enrolled", "--json").splitlines()
    assert [json.loads(line)["counting"] for line in listed_again] == [1, 1]


def test_a_revocation_needs_no_authority(shell: Shell) -> None:
    shell.enrol("pi-7")
    found = shell.run("revoke", "pi-7", EDGEQA_CLOUD_AUTHORITY="")
    assert found.exit_code == 0
    assert "60 s" in found.stderr
    assert "user pi-7" not in (shell.broker / "device.acl").read_text()
    shell.ok("authority", "refresh")
    assert "user pi-7" in (shell.broker / "device.acl").read_text()


def test_a_wrong_passphrase_leaves_everything_as_it_was(locked_shell: Shell) -> None:
    shell = locked_shell
    shell.enrol("pi-7")
    (shell.folder / "passphrase").write_text("another one\n")
    for command in (
        ("enrol", "pi-8", "--output", str(shell.folder / "bundles")),
        ("revoke", "pi-7"),
        ("authority", "refresh"),
        ("run",),
    ):
        shell.refused("passphrase_wrong", *command)
    (shell.folder / "passphrase").write_text("")
    shell.refused("passphrase_missing", "enrol", "pi-8")
    (shell.folder / "passphrase").unlink()
    shell.refused("passphrase_missing", "enrol", "pi-8")
    assert "--authority-passphrase-file" in shell.refused(
        "passphrase_missing", "enrol", "pi-8", EDGEQA_CLOUD_AUTHORITY_PASSPHRASE_FILE=""
    )
    assert shell.rows() == 1
    assert '"pi-7"' in shell.ok("enrolled", "--json")
    assert "here, encrypted" in shell.ok("authority", "status")


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("a/b",), "bad_name"),
        (("..",), "bad_name"),
        (("x" * 65,), "bad_name"),
        (("pi\n7",), "bad_name"),
        (("pi", "--client", "--service"), "usage"),
        (("pi", "--client", "--group", "hall"), "usage"),
        (("pi", "--group", "a b"), "usage"),
        (("pi", "--broker-host", "a b"), "usage"),
        (("pi", "--at", "relative"), "usage"),
        (("pi", "--at", "/etc/ed geqa"), "usage"),
        (("pi", "--at", "/etc/x\nA=1"), "usage"),
        (("pi", "--csr", "/none"), "usage"),
        (("pi", "--csr", "/etc/hostname"), "bad_signing_request"),
        (("pi", "--csr", "/etc/hostname", "--password"), "usage"),
        (("pi", "--output", "/proc/none"), "output_unwritable"),
        (("pi", "--output", "/etc/hostname"), "output_unwritable"),
        (("pi", "--authority", "/none"), "no_authority"),
    ],
)
def test_a_wrong_wish_issues_nothing(shell: Shell, flags: tuple[str, ...], code: str) -> None:
    output = () if "--output" in flags else ("--output", str(shell.folder / "out"))
    shell.refused(code, "enrol", *flags, *output)
    assert shell.rows() == 0
    assert not (shell.folder / "out").exists() or not any((shell.folder / "out").iterdir())


def test_without_a_database_nothing_is_issued(shell: Shell) -> None:
    none = f"sqlite:///{shell.folder / 'none.db'}"
    said = shell.refused("no_database", "enrol", "pi", EDGEQA_CLOUD_DATABASE=none)
    assert "edgeqa cloud migrate" in said
    assert not (shell.folder / "none.db").exists()
    assert not Path("pi").exists()


def test_the_authority_is_shown_also_where_keys_are_elsewhere(shell: Shell) -> None:
    (shell.folder / "authority" / "client" / "ca.key").unlink()
    (shell.broker / "server.crt").unlink()
    text = shell.ok("authority", "status")
    assert "key elsewhere" in text
    assert "MISSING" in text
    told = json.loads(shell.ok("authority", "status", "--json"))
    assert told["hosts"] == ["broker.example.org", "10.0.0.5"]
    assert told["roles"]["client"]["key"] == "elsewhere"
    assert told["files"]["server.crt"] is None
    shell.ok("authority", "refresh", "--broker-host", "new.example.org")
    told = json.loads(shell.ok("authority", "status", "--json"))
    assert told["hosts"] == ["new.example.org"]
    assert told["files"]["server.crt"] is not None
    assert "nothing to change" in shell.ok("authority", "refresh")


def test_what_waits_for_a_key_ends_with_5(shell: Shell) -> None:
    shell.enrol("anna", "--client")
    shell.ok("authority", "refresh", "--again", "--revocations-days", "400")
    listed = x509.load_pem_x509_crl((shell.broker / "client.crl").read_bytes())
    assert listed.next_update_utc is not None
    assert listed.next_update_utc - listed.last_update_utc > timedelta(days=399)
    assert "nothing to change" in shell.ok("authority", "refresh")
    (shell.folder / "authority" / "client" / "ca.key").rename(shell.folder / "offline")
    shell.ok("revoke", "anna", "--client")
    found = shell.run("authority", "refresh")
    assert found.exit_code == 5
    assert "client.crl waits" in found.stderr
    shell.refused("key_missing", "enrol", "bert", "--client", "--output", str(shell.folder / "b"))
    (shell.folder / "offline").rename(shell.folder / "authority" / "client" / "ca.key")
    shell.ok("authority", "refresh")


def test_init_refuses_without_a_passphrase_and_makes_open_keys_only_if_told(
    tmp_path: Path,
) -> None:
    shell = Shell(tmp_path)
    hosts = ("--broker-host", "localhost")
    shell.refused("passphrase_missing", "authority", "init", *hosts)
    nowhere = {"EDGEQA_CLOUD_AUTHORITY_PASSPHRASE_FILE": ""}
    shell.refused("passphrase_missing", "authority", "init", *hosts, **nowhere)
    shell.refused("invalid_config", "authority", "init", "--no-passphrase")
    shell.refused("invalid_config", "authority", "init", *hosts, EDGEQA_CLOUD_AUTHORITY="")
    assert not (tmp_path / "authority").exists()
    shell.ok("authority", "init", *hosts, "--no-passphrase", **nowhere)
    assert "NOT ENCRYPTED" in shell.ok("authority", "status")
    for role in Role:
        key = tmp_path / "authority" / role / "ca.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shell.refused("output_exists", "authority", "init", *hosts, "--no-passphrase")


def test_at_a_real_shell_an_error_is_one_line_and_its_exit_code(shell: Shell) -> None:
    command = [sys.executable, "-m", "edgeqa.cli", "cloud", "enrol", "../x"]
    environment = {**os.environ, **shell.environment}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("[bad_name]\n")
