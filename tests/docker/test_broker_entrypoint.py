"""`docker/mosquitto/entrypoint.sh` with a real Mosquitto: what it follows, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.broker import Certificates, make_certificates

from edgeqa.processes import free_port, listens

SCRIPT = Path(__file__).parents[2] / "docker" / "mosquitto" / "entrypoint.sh"
# Debian's shell, and that of the official image (Alpine).
SHELLS = [
    pytest.param(["dash"], id="dash"),
    pytest.param(
        ["busybox", "sh"],
        id="busybox",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not shutil.which("busybox"), reason="busybox is not installed"),
        ],
    ),
]
pytestmark = pytest.mark.system


class Site:
    """A folder as `edgeqa cloud authority` leaves it, in small, and the script that runs on it."""

    def __init__(self, folder: Path, shell: list[str]) -> None:
        self.files = folder / "files"
        self.files.mkdir()
        self.log = folder / "log"
        self.shell = shell
        self.ports = (free_port(), free_port())
        self.environment = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
            "EDGEQA_BROKER_FILES": str(self.files),
            "EDGEQA_BROKER_WATCH_S": "0.2",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def put(self, name: str, text: str | bytes) -> None:
        """Whole, as the cloud does it."""
        part = self.files / f".{name}.part"
        part.write_bytes(text if isinstance(text, bytes) else text.encode())
        part.rename(self.files / name)

    def put_conf(self, *ports: int) -> None:
        lines = ["per_listener_settings true", "user root"]
        for port in ports:
            lines += [
                f"listener {port} 127.0.0.1",
                "allow_anonymous true",
                f"certfile {self.files}/server.crt",
                f"keyfile {self.files}/server.key",
                f"acl_file {self.files}/device.acl",
            ]
        self.put("mosquitto.conf", "\n".join([*lines, "log_dest stderr", ""]))

    def put_server(self, certificates: Certificates) -> None:
        certificate, key = certificates.server
        self.put("server.key", key.read_bytes())
        self.put("server.crt", certificate.read_bytes())

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.shell, str(SCRIPT)], env=self.environment, stdout=log, stderr=log
            )

    def health(self) -> tuple[int, str]:
        done = subprocess.run(
            [*self.shell, str(SCRIPT), "health"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.strip()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def mosquitto(self) -> int:
        """The process id of the broker."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        (found,) = [
            int(child)
            for child in children.split()
            if Path(f"/proc/{child}/comm").read_text().strip() == "mosquitto"
        ]
        return found

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 20
        while not happened():
            assert self.process is not None
            assert time.monotonic() < deadline, f"never {what}\n{self.said()}"
            time.sleep(0.05)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@pytest.fixture(params=SHELLS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    one = Site(tmp_path, request.param)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.stop()


@pytest.fixture
def running(site: Site, certificates: Certificates) -> Site:
    site.put_server(certificates)
    site.put("device.acl", "topic readwrite open/#\n")
    site.put_conf(site.ports[0])
    site.start()
    site.wait_for(lambda: listens(site.ports[0]), "listening")
    return site


def served_certificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


def heard(site: Site, ca: Path, *, topic: str, seconds: int = 2) -> str:
    """What a client hears of its own message on a topic."""
    done = subprocess.run(
        [
            "mosquitto_rr", "-h", "localhost", "-p", str(site.ports[0]), "--cafile", str(ca),
            "-V", "5", "-t", topic, "-e", topic, "-m", "hello", "-W", str(seconds),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def test_it_waits_for_its_files_and_says_so(site: Site, certificates: Certificates) -> None:
    site.start()
    site.wait_for(lambda: "edgeqa cloud authority init" in site.said(), "waiting")
    assert site.health() == (1, f"no listener in {site.files}/mosquitto.conf")
    site.put_server(certificates)
    site.put("device.acl", "")
    site.put_conf(site.ports[0])
    site.wait_for(lambda: listens(site.ports[0]), "listening")
    assert site.health() == (0, f"listens on {site.ports[0]}")


def test_health_names_a_port_that_nobody_listens_on(running: Site) -> None:
    other = free_port()
    conf = running.files / "mosquitto.conf"
    conf.write_text(conf.read_text() + f"listener {other} 127.0.0.1\n")
    assert running.health() == (1, f"nothing listens on port {other}")


def test_changed_access_rules_hold_without_a_restart(
    running: Site, certificates: Certificates
) -> None:
    broker = running.mosquitto()
    assert heard(running, certificates.ca, topic="open/x") == "hello"
    running.put("device.acl", "topic readwrite other/#\n")
    running.wait_for(lambda: "SIGHUP" in running.said(), "told")
    running.wait_for(lambda: "Reloading config" in running.said(), "reloaded")
    assert heard(running, certificates.ca, topic="other/x") == "hello"
    assert heard(running, certificates.ca, topic="open/x", seconds=1) == ""
    assert running.mosquitto() == broker


@pytest.mark.parametrize("bad", ["missing", "empty"])
def test_rules_that_are_not_whole_are_not_told(
    running: Site, certificates: Certificates, bad: str
) -> None:
    """Mosquitto would read them as no rules, and allow everything."""
    if bad == "missing":
        (running.files / "device.acl").unlink()
    else:
        running.put("device.acl", "")
    running.wait_for(lambda: "device.acl cannot be read, or is empty" in running.said(), "refused")
    assert "SIGHUP" not in running.said()
    assert heard(running, certificates.ca, topic="other/x", seconds=1) == ""
    assert heard(running, certificates.ca, topic="open/x") == "hello"
    running.put("device.acl", "topic readwrite other/#\n")
    running.wait_for(lambda: "Reloading config" in running.said(), "reloaded")
    assert heard(running, certificates.ca, topic="other/x") == "hello"
    assert running.said().count("cannot be read") == 1


def test_a_new_server_certificate_is_shown_without_a_restart(running: Site, tmp_path: Path) -> None:
    broker = running.mosquitto()
    before = served_certificate(running.ports[0])
    running.put_server(make_certificates(tmp_path / "next"))
    running.wait_for(lambda: served_certificate(running.ports[0]) != before, "shown")
    assert running.mosquitto() == broker


def test_another_mosquitto_conf_is_a_restart(running: Site) -> None:
    broker = running.mosquitto()
    running.put_conf(*running.ports)
    running.wait_for(lambda: listens(running.ports[1]), "listening on the second port")
    assert running.mosquitto() != broker
    assert "mosquitto.conf has changed: restart" in running.said()
    assert running.health()[0] == 0


def test_it_ends_with_what_its_mosquitto_ended_with(running: Site) -> None:
    assert running.process is not None
    os.kill(running.mosquitto(), signal.SIGKILL)
    assert running.process.wait(10) == 128 + signal.SIGKILL
    assert "mosquitto ended with 137" in running.said()


def test_a_stop_ends_both(running: Site) -> None:
    assert running.stop() == 0
    assert not listens(running.ports[0])


def test_a_stop_while_it_waits_for_files(site: Site) -> None:
    site.start()
    site.wait_for(lambda: "waits for" in site.said(), "waiting")
    assert site.stop() == 0


def test_an_unknown_word_is_refused(site: Site) -> None:
    done = subprocess.run([*site.shell, str(SCRIPT), "start"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"knows `run` and `health`, not `start`" in done.stderr
