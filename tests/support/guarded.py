"""A broker as `edgeqa cloud authority init` makes it, and members as `edgeqa cloud enrol` does.

One listener more, without any rule, is the test's own: what comes there is what the broker let in.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from edgeqa import cli
from edgeqa.broker import BrokerSettings
from edgeqa.identity.roles import PASSWORD_PORTS, PORTS, Role
from edgeqa.processes import free_port
from edgeqa_cloud.database import Database
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings
from support.broker import Broker

PASSPHRASE = "a passphrase that stands in no log"
_OPTIONS = {Role.DEVICE: [], Role.CLIENT: ["--client"], Role.SERVICE: ["--service"]}


def edgeqa(*arguments: str, environment: dict[str, str]) -> str:
    """`edgeqa …` in this process; what it prints.

    Raises:
        SystemExit: with another exit code than 0; its text is what was printed.
    """
    argv, before = sys.argv, dict(os.environ)
    out = io.StringIO()
    sys.argv = ["edgeqa", *arguments]
    os.environ.update(environment)
    try:
        with redirect_stdout(out), redirect_stderr(out):
            cli.main()
    except SystemExit as end:
        if end.code not in {None, 0}:
            raise SystemExit(f"exit code {end.code}: {out.getvalue()}") from end
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(before)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Member:
    """Who was enrolled.

    Attributes:
        settings: fields of `BrokerSettings`, and of a device's own settings.
    """

    role: Role
    name: str
    bundle: Path
    settings: dict[str, object]

    @property
    def broker(self) -> BrokerSettings:
        fields = {key: value for key, value in self.settings.items() if key.startswith("broker")}
        return BrokerSettings.model_validate({**fields, "broker_connect_timeout_s": 10.0})

    @property
    def file(self) -> Path:
        """What `enrol` wrote for it to be started with."""
        return self.bundle / (
            "agent.toml" if self.role is Role.DEVICE else f"{self.role.value}.env"
        )

    @property
    def environment(self) -> dict[str, str]:
        """That file, of a client or a service."""
        lines = self.file.read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@dataclass
class GuardedBroker(Broker):
    """Mosquitto with the configuration that was made for it; `port` is the open listener."""

    files: Path = Path()
    ports: dict[int, int] = field(default_factory=dict)

    def reload(self) -> None:
        """Have it read its files again, and wait until it has."""
        before = self.log.count("Reloading config")
        os.kill(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + 10
        while self.log.count("Reloading config") == before:
            assert time.monotonic() < deadline, "mosquitto does not reload"
            time.sleep(0.01)

    def _config(self) -> list[str]:
        """As it was written, but on ports that are free, and with the open listener."""
        text = (self.files / "mosquitto.conf").read_text(encoding="utf-8")
        lines = [self._here(*line.split(" ", 1)) for line in text.splitlines() if line]
        root = ["user root"] if os.geteuid() == 0 else []
        return [*lines, *root, f"listener {self.port} 127.0.0.1", "allow_anonymous true"]

    def _here(self, key: str, value: str = "") -> str:
        if key == "listener":
            value = f"{self.ports[int(value)]} 127.0.0.1"
        elif key == "persistence_location":
            value = f"{self.folder}/"
        return f"{key} {value}"


class GuardedSite:
    """An authority, its database and its broker. Use it in a `with` block.

    Args:
        folder: for all of it.
        passphrase: keys are encrypted, which costs a second a command.
    """

    def __init__(self, folder: Path, *, passphrase: bool = False) -> None:
        self.said: list[str] = []
        self._more = [] if passphrase else ["--no-passphrase"]
        self.folder = folder
        self.authority = folder / "authority"
        self.database = f"sqlite:///{folder / 'cloud.db'}"
        self.passphrase_file = folder / "passphrase" if passphrase else None
        if self.passphrase_file:
            self.passphrase_file.write_text(f"{PASSPHRASE}\n")
        self.ports = {port: free_port() for port in [*PORTS.values(), *PASSWORD_PORTS.values()]}
        self.broker = GuardedBroker(
            folder=folder / "mosquitto", files=self.authority / "broker", ports=self.ports
        )

    @property
    def environment(self) -> dict[str, str]:
        """Of commands of the cloud side."""
        found = {
            "EDGEQA_CLOUD_AUTHORITY": str(self.authority),
            "EDGEQA_CLOUD_DATABASE": self.database,
        }
        if self.passphrase_file:
            found["EDGEQA_CLOUD_AUTHORITY_PASSPHRASE_FILE"] = str(self.passphrase_file)
        return found

    def __enter__(self) -> Self:
        with Database.of(DatabaseSettings(database=self.database)) as database:
            migrate(database)
        hosts = ["--broker-host", "localhost", "--broker-host", "127.0.0.1"]
        self.cloud("authority", "init", *hosts, *self._more)
        self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.stop()

    def cloud(self, *arguments: str) -> str:
        """`edgeqa cloud …`; what it prints, which is kept in `said` too."""
        said = edgeqa("cloud", *arguments, environment=self.environment)
        self.said.append(said)
        return said

    def enrol(
        self, role: Role, name: str, *more: str, password: bool = False, reload: bool = True
    ) -> Member:
        """`edgeqa cloud enrol`; a password counts once the broker has read its files again."""
        output = self.folder / "bundles" / f"{role.value}{'-password' if password else ''}"
        port = (PASSWORD_PORTS if password else PORTS)[role]
        self.cloud(
            "enrol", name, *_OPTIONS[role], *(["--password"] if password else []), *more,
            "--output", str(output), "--at", str(output / name),
            "--broker-host", "localhost", "--broker-port", str(self.ports[port]),
        )  # fmt: skip
        if password and reload:
            self.broker.reload()
        return member(role, name, output / name)

    def revoke(self, role: Role, name: str) -> None:
        """`edgeqa cloud revoke`, and the broker knows."""
        self.cloud("revoke", name, *_OPTIONS[role])
        self.broker.reload()


def member(role: Role, name: str, bundle: Path) -> Member:
    """By its bundle."""
    found = Member(role, name, bundle, {})
    if role is Role.DEVICE:
        settings: dict[str, object] = dict(tomllib.loads(found.file.read_text(encoding="utf-8")))
    else:
        prefix = "EDGEQA_CLIENT_"
        settings = {
            key.removeprefix(prefix).lower(): value
            for key, value in found.environment.items()
            if key.startswith(prefix)
        }
    return Member(role, name, bundle, settings)
