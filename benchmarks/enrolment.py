"""What an authority of many costs: `python benchmarks/enrolment.py --devices 10000 --revoked 1000`.

Enrols devices (key, certificate, row), revokes some, writes the broker's files, and has a real
Mosquitto read them again. Wall time, with a SQLite file in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeqa.identity.roles import Role
from edgeqa.processes import free_port, listens
from edgeqa_cloud.database import Database
from edgeqa_cloud.enrolment import registry
from edgeqa_cloud.enrolment.authority import Authority
from edgeqa_cloud.enrolment.broker_files import Lifetimes, write_broker_files
from edgeqa_cloud.enrolment.broker_settings import BrokerView
from edgeqa_cloud.enrolment.certificates import new_key
from edgeqa_cloud.enrolment.making import make_authority
from edgeqa_cloud.enrolment.membership import membership
from edgeqa_cloud.migrate import migrate
from edgeqa_cloud.settings import DatabaseSettings

_ROWS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--revoked", type=int, default=1000)
    options = parser.parse_args()
    now = datetime.now(UTC)
    with (
        tempfile.TemporaryDirectory() as name,
        Database.of(DatabaseSettings(database=f"sqlite:///{name}/cloud.db")) as database,
    ):
        folder = Path(name)
        migrate(database)
        hosts = ["localhost"]
        authority = make_authority(folder / "authority", hosts=hosts, passphrase=None, now=now)
        signed = timed(lambda: enrol(authority, database, options.devices, now))
        print(f"enrol: {1000 * signed / options.devices:.2f} ms a device")
        timed(lambda: revoke(database, options.revoked, now))

        ports = {role: free_port() for role in Role}
        view = BrokerView(
            files=folder / "broker", data=folder,
            listeners={role: f"{port} 127.0.0.1" for role, port in ports.items()},
            password_listeners={role: f"{free_port()} 127.0.0.1" for role in Role},
            extra="user root" if os.geteuid() == 0 else "",
        )  # fmt: skip

        def refresh() -> None:
            with database.reading() as connection:
                members = {role: membership(connection, role, now=now) for role in Role}
            write_broker_files(
                view.files, authority, members, view=view, lifetimes=Lifetimes(), now=now
            )

        print(f"broker's files, all made: {1000 * timed(refresh):.0f} ms")
        again = statistics.median(timed(refresh) for _ in range(5))
        print(f"broker's files, nothing to change: {1000 * again:.0f} ms")
        for file in ("device.crl", "device.acl"):
            print(f"{file}: {(view.files / file).stat().st_size / 1024:.0f} KiB")
        with broker(view.files, ports[Role.DEVICE], folder) as process:
            context = context_of(authority, folder, now)
            plain = statistics.median(timed(lambda: hello(context, ports)) for _ in range(9))
            print(f"a connection: {1000 * plain:.1f} ms")

            def reload() -> None:
                process.send_signal(signal.SIGHUP)
                hello(context, ports)

            reloaded = statistics.median(timed(reload) for _ in range(9))
            print(f"a connection right after SIGHUP: {1000 * reloaded:.1f} ms")


def enrol(authority: Authority, database: Database, devices: int, now: datetime) -> None:
    for first in range(0, devices, _ROWS):
        with database.writing() as connection:
            for number in range(first, min(first + _ROWS, devices)):
                issued = authority.sign_key(
                    Role.DEVICE, new_key().public_key(), name=f"pi-{number:06}", valid_days=90,
                    now=now,
                )  # fmt: skip
                registry.record(connection, issued, issued_by="benchmark")


def revoke(database: Database, devices: int, now: datetime) -> None:
    with database.writing() as connection:
        for number in range(devices):
            registry.revoke(
                connection, Role.DEVICE, f"pi-{number:06}", reason="", actor="benchmark", now=now
            )


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def context_of(authority: Authority, folder: Path, now: datetime) -> ssl.SSLContext:
    """Of a device that is let in."""
    key, file = new_key(), folder / "device.pem"
    issued = authority.sign_key(Role.DEVICE, key.public_key(), name="one", valid_days=1, now=now)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(issued.certificate.encode() + secret)
    context = ssl.create_default_context(cafile=str(folder / "authority" / "service" / "ca.crt"))
    context.load_cert_chain(file)
    return context


def hello(context: ssl.SSLContext, ports: dict[Role, int]) -> None:
    """TCP, TLS, CONNECT and the broker's answer."""
    with (
        socket.create_connection(("127.0.0.1", ports[Role.DEVICE])) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"\x10\x10\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x03abc")
        if secure.recv(1) != b"\x20":
            raise SystemExit("the broker does not let us in")


@contextmanager
def broker(files: Path, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["mosquitto", "-c", str(files / "mosquitto.conf")], stdout=log, stderr=log
        )
    try:
        while not listens(port):
            if process.poll() is not None:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()
