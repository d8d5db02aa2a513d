"""The folder that makes a machine a member: settings, whom to trust, certificate and key.

It is written beside where it belongs and put in place by one rename, after what is in it was
recorded: a bundle that lies there is whole, and is known.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import UsageError
from edgeqa.files import sync_folder, write_atomic
from edgeqa.identity.roles import Role
from edgeqa_cloud.enrolment.refusals import AuthorityError

CA_FILE = "ca.crt"
CERTIFICATE_FILE = "identity.crt"
KEY_FILE = "identity.key"
PASSWORD_FILE = "password"  # noqa: S105  a file's name
ROOT_FILE = "repository-root.json"
SECRET_FILES = {KEY_FILE, PASSWORD_FILE}
# Where a container has it mounted, and `edgeqa agent install` copies it to.
USUAL_PLACE = Path("/etc/edgeqa")
_SECRET, _PUBLIC, _FOLDER = 0o600, 0o644, 0o700


@dataclass(frozen=True, slots=True)
class Connecting:
    """How a member reaches the broker.

    Attributes:
        at: where the bundle lies on the machine that uses it.
        by_password: else by certificate.
        repository: URL of the packages, of a device that fetches any.
    """

    role: Role
    name: str
    host: str
    port: int
    at: Path = USUAL_PLACE
    by_password: bool = False
    groups: tuple[str, ...] = ()
    repository: str | None = None

    @property
    def settings(self) -> dict[str, str | list[str]]:
        """Fields of `edgeqa.broker.BrokerSettings`, and a device's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        found: dict[str, str | list[str]] = {
            "broker": f"mqtts://{host}:{self.port}",
            "broker_username": self.name,
            "broker_ca_file": str(self.at / CA_FILE),
        }
        if self.by_password:
            found["broker_password_file"] = str(self.at / PASSWORD_FILE)
        else:
            found["broker_cert_file"] = str(self.at / CERTIFICATE_FILE)
            found["broker_key_file"] = str(self.at / KEY_FILE)
        if self.role is Role.DEVICE:
            found = {"device": self.name, **found}
            if self.groups:
                found["groups"] = list(self.groups)
            if self.repository is not None:
                found["repository"] = self.repository
                found["repository_root"] = str(self.at / ROOT_FILE)
        return found


def settings_file(connecting: Connecting) -> tuple[str, bytes]:
    """Name and content: TOML for an agent, an environment for all others."""
    about = f"# Of {connecting.role} {connecting.name}, written by `edgeqa cloud enrol`.\n"
    if connecting.role is Role.DEVICE:
        # A JSON string is one of TOML, and so is a list of them.
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in connecting.settings.items()]
        return "agent.toml", (about + "".join(lines)).encode()
    # A service is the cloud side, or an operator's shell.
    prefixes = ["EDGEQA_CLIENT_"]
    if connecting.role is Role.SERVICE:
        prefixes.append("EDGEQA_CLOUD_")
    lines = [
        f"{prefix}{key.upper()}={value}\n"
        for prefix in prefixes
        for key, value in connecting.settings.items()
    ]
    return f"{connecting.role}.env", (about + "".join(lines)).encode()


@contextmanager
def bundle_beside(
    output: Path, name: str, content: Mapping[str, bytes]
) -> Iterator[Callable[[], Path]]:
    """Inside the block a bundle lies beside its place; the function yielded puts it there.

    Left without that, nothing of it stays.

    Raises:
        UsageError: `output_exists`.
        AuthorityError: `output_unwritable`.
    """
    place = output / name
    if os.path.lexists(place):
        raise UsageError(
            f"{place} is there already; delete it, or name another folder with --output",
            code="output_exists",
        )
    beside = _write_beside(output, name, content)

    def put() -> Path:
        try:
            beside.rename(place)
            sync_folder(output)
        except OSError as error:
            more = ": what is in it is recorded, so try again with --again"
            raise _unwritable(place, error, more) from error
        return place

    try:
        yield put
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_beside(output: Path, name: str, content: Mapping[str, bytes]) -> Path:
    beside: Path | None = None
    try:
        output.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=output, prefix=f".{name}."))
        beside.chmod(_FOLDER)
        for one, what in content.items():
            write_atomic(beside / one, what, mode=_SECRET if one in SECRET_FILES else _PUBLIC)
    except OSError as error:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        raise _unwritable(output, error) from error
    return beside


def _unwritable(path: Path, error: OSError, more: str = "") -> AuthorityError:
    return AuthorityError(
        f"{error.filename or path}: cannot be written: {error.strerror}{more}",
        code="output_unwritable",
    )
