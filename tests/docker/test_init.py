"""`docker/init.sh`: what it makes, and what it keeps at later starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from support.images import DOCKER

pytestmark = pytest.mark.slow


class Installation:
    """The volumes, and the script that works on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("authority", "broker", "identities/cloud", "identities/agent"):
            (folder / name).mkdir(parents=True)
        (folder / "passphrase").write_text("correct horse battery\n")
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "EDGEQA_INIT_IDENTITIES": str(folder / "identities"),
            "EDGEQA_INIT_DEVICE": "pi-1",
            "EDGEQA_INIT_GROUPS": "hall,gate",
            "EDGEQA_CLOUD_DATABASE": f"sqlite:///{folder}/cloud.db",
            "EDGEQA_CLOUD_AUTHORITY": str(folder / "authority"),
            "EDGEQA_CLOUD_AUTHORITY_PASSPHRASE_FILE": str(folder / "passphrase"),
            "EDGEQA_CLOUD_BROKER_FILES": str(folder / "broker"),
        }

    def init(self, **more: str) -> str:
        done = self.run("sh", str(DOCKER / "init.sh"), **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def edgeqa(self, *arguments: str) -> str:
        done = self.run("edgeqa", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **more}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def files(self) -> dict[str, bytes]:
        kept = {".crt", ".key", ".toml", ".env", ".conf", ".acl"}
        return {
            str(path): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.suffix in kept
        }  # fmt: skip

    def hosts(self) -> list[str]:
        made = x509.load_pem_x509_certificate((self.folder / "broker/server.crt").read_bytes())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_a_second_start_keeps_everything(installation: Installation) -> None:
    said = installation.init()
    assert "cloud has a new certificate" in said
    assert "pi-1 has a new certificate" in said
    agent = (installation.folder / "identities/agent/agent.toml").read_text()
    assert 'groups = ["hall", "gate"]' in agent
    assert 'broker = "mqtts://broker:8883"' in agent
    before = installation.files()
    assert len(before) >= 18
    said = installation.init()
    assert "cloud has its certificate" in said
    assert "pi-1 has its certificate" in said
    assert installation.files() == before


def test_it_follows_another_name_of_the_broker_and_of_the_device(
    installation: Installation,
) -> None:
    installation.init()
    assert installation.hosts() == ["localhost", "broker"]
    said = installation.init(EDGEQA_INIT_BROKER_HOST="broker.site", EDGEQA_INIT_DEVICE="pi-2")
    assert installation.hosts() == ["broker.site", "broker", "localhost"]
    assert "pi-2 has a new certificate" in said
    assert 'device = "pi-2"' in (installation.folder / "identities/agent/agent.toml").read_text()


def test_an_expired_certificate_is_replaced(installation: Installation) -> None:
    installation.init(EDGEQA_CLOUD_CERTIFICATE_DAYS="0.00002")
    time.sleep(2)
    said = installation.init()
    assert "cloud has its certificate" in said
    assert "pi-1 has a new certificate" in said


def test_who_was_revoked_is_not_let_in_again(installation: Installation) -> None:
    installation.init()
    installation.edgeqa("cloud", "revoke", "pi-1")
    assert "pi-1 has its certificate" in installation.init()
    listed = installation.edgeqa("cloud", "enrolled", "--role", "device", "--json").splitlines()
    assert [json.loads(line)["state"] for line in listed] == ["revoked"]


def test_a_wrong_passphrase_is_one_line(installation: Installation) -> None:
    installation.init()
    (installation.folder / "passphrase").write_text("another\n")
    done = installation.run("sh", str(DOCKER / "init.sh"))
    assert done.returncode == 3
    assert "[passphrase_wrong]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
