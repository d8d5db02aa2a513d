"""A real mosquitto on a free port, with a configuration of its own in a temporary folder."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from edgeqa.broker import Broker as BrokerAddress
from edgeqa.broker import BrokerSettings, resolve_broker
from edgeqa.processes import free_port, listens

_START_TIMEOUT_S = 10.0
_MOSQUITTO = "/usr/sbin/mosquitto"


@dataclass(frozen=True, slots=True)
class Certificates:
    """An authority, and certificates that it signed for the broker and for one client."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def server(self) -> tuple[Path, Path]:
        return self.folder / "server.crt", self.folder / "server.key"

    @property
    def client(self) -> tuple[Path, Path]:
        return self.folder / "client.crt", self.folder / "client.key"


def make_certificates(folder: Path) -> Certificates:
    """Certificates for `localhost` and 127.0.0.1, made by the openssl command."""
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(
        "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2",
        "-subj", "/CN=EdgeQA test authority",
        "-addext", "basicConstraints=critical,CA:TRUE",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    for name, alternative in (("server", "DNS:localhost,IP:127.0.0.1"), ("client", "DNS:client")):
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}")  # fmt: skip
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt",
        )  # fmt: skip
    return Certificates(folder)


@dataclass
class Broker:
    """One mosquitto; stopped and started again it keeps its port.

    Attributes:
        folder: for its configuration, log and, with `persistence`, its database.
        users: user name to password; None lets everybody in.
        tls: the broker's certificates; with `require_client_cert` clients need one too.
        extra: more lines for the configuration.
    """

    folder: Path
    users: dict[str, str] | None = None
    tls: Certificates | None = None
    require_client_cert: bool = False
    persistence: bool = False
    extra: tuple[str, ...] = ()
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """For `EDGEQA_…_BROKER`."""
        return f"{'mqtts' if self.tls else 'mqtt'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the broker wrote so far."""
        return (self.folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def address(self, **settings: object) -> BrokerAddress:
        """For `MqttLink`: this broker, with `BrokerSettings` fields on top."""
        return resolve_broker(self.address_settings(**settings))

    def address_settings(self, **settings: object) -> BrokerSettings:
        """For `Client`: this broker, with `BrokerSettings` fields on top."""
        defaults: dict[str, object] = {"broker": self.url, "broker_connect_timeout_s": 10.0}
        if self.tls:
            defaults["broker_ca_file"] = self.tls.ca
        return BrokerSettings.model_validate(defaults | settings)

    def start(self) -> Broker:
        """Start and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(self._config()) + "\n", encoding="utf-8")
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_MOSQUITTO, "-v", "-c", str(config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto does not start:\n{self.log}")
            time.sleep(0.01)
        return self

    def stop(self, *, kill: bool = False) -> None:
        """End it; `kill` leaves it no time to say goodbye or to save anything."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill() if kill else process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    def restart(self, *, down_s: float = 0.0, kill: bool = False) -> None:
        """Stop, stay away for a while, and start again on the same port."""
        self.stop(kill=kill)
        time.sleep(down_s)
        self.start()

    def _config(self) -> list[str]:
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if self.users else 'true'}",
            "set_tcp_nodelay true",
            "max_inflight_messages 0",
            "max_queued_messages 100000",
            f"persistence {'true' if self.persistence else 'false'}",
            f"persistence_location {self.folder}/",
            "log_dest stderr",
            # Started as root, mosquitto would become a user who cannot read the folder.
            *(["user root"] if _is_root() else []),
        ]
        if self.users:
            lines.append(f"password_file {self._password_file(self.users)}")
        if self.tls:
            certificate, key = self.tls.server
            lines += [
                f"cafile {self.tls.ca}",
                f"certfile {certificate}",
                f"keyfile {key}",
                f"require_certificate {'true' if self.require_client_cert else 'false'}",
            ]
        return [*lines, *self.extra]

    def _password_file(self, users: dict[str, str]) -> Path:
        path = self.folder / "passwords"
        path.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
        path.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True)
        return path


def _is_root() -> bool:
    return os.geteuid() == 0
