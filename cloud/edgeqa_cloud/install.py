"""The cloud side as a service of systemd."""

from __future__ import annotations

import stat
import tomllib
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template

from edgeqa.errors import ConfigError
from edgeqa.identity.certificate import read_identity, shown
from edgeqa.identity.roles import Role
from edgeqa.installing.errors import InstallError
from edgeqa.installing.place import Place
from edgeqa.installing.service import Service, Wanted, check, install
from edgeqa.installing.steps import Owned, Say
from edgeqa.settings import load_settings
from edgeqa.tls import CertificateFiles
from edgeqa_cloud.enrolment.bundle import CA_FILE, CERTIFICATE_FILE, KEY_FILE, PASSWORD_FILE
from edgeqa_cloud.settings import CloudSettings

CONFIG = Path("/etc/edgeqa-cloud")
STATE = Path("/var/lib/edgeqa-cloud")
BROKER_FILES = Path("/var/lib/edgeqa-broker")
SLOTS = (Path("/opt/edgeqa-cloud"), Path("/opt/edgeqa-cloud-2"))
SETTINGS_FILE = "cloud.toml"
BUNDLE_FILE = "service.env"
# Records of a week of a hundred devices, and SQLite's files beside them.
_LEAST_MIB = 1024
_MOST_BYTES = 1 << 20
_PREFIX = "EDGEQA_CLOUD_"
_BUNDLE = frozenset({BUNDLE_FILE, CA_FILE, CERTIFICATE_FILE, KEY_FILE, PASSWORD_FILE})
_ALL = _BUNDLE | {SETTINGS_FILE}
# For commands of an operator, who is root here, and must not leave files of root behind.
_WRAPPER = f"""\
#!/bin/sh
# edgeqa as the cloud side runs it: its user, settings and token. By `edgeqa cloud install`.
umask 077
set -a
[ ! -f {CONFIG}/{BUNDLE_FILE} ] || . {CONFIG}/{BUNDLE_FILE}
EDGEQA_CLOUD_CONFIG={CONFIG}/{SETTINGS_FILE}
EDGEQA_API_TOKEN_FILE={STATE}/operator-token
XDG_STATE_HOME={STATE}
set +a
cd {STATE} || exit
exec setpriv --reuid=edgeqa-cloud --regid=edgeqa-cloud --init-groups $program "$$@"
"""
# Where nobody has said otherwise.
_DEFAULT = f"""\
# Settings of the cloud side; docs/cloud-settings.md has all of them.
database = "sqlite:///{STATE}/cloud.db"
token_file = "{STATE}/operator-token"
authority = "{STATE}/authority"
authority_passphrase_file = "{CONFIG}/authority-passphrase"
broker_files = "{BROKER_FILES}"
"""


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller brings.

    Attributes:
        bundle: of `edgeqa cloud enrol NAME --service --at /etc/edgeqa-cloud`; None: what is there.
        settings: a `cloud.toml`; None: what is there, or a first one.
    """

    bundle: Path | None
    settings: Path | None


def cloud_service() -> Service:
    """What is installed."""
    unit = files("edgeqa_cloud").joinpath("units/edgeqa-cloud.service")
    return Service(
        name="edgeqa-cloud",
        user="edgeqa-cloud",
        config=CONFIG,
        state=STATE,
        unit=Template(unit.read_text(encoding="utf-8")),
        slots=SLOTS,
        least_mib=_LEAST_MIB,
        imports=("sqlalchemy", "fastapi", "tuf"),
        # The setgid bit lets the broker's group read what is written there, and nobody else.
        shared=((BROKER_FILES, Owned("edgeqa-cloud", "mosquitto", 0o2750)),),
        wrapper=(Path("/usr/local/sbin/edgeqa-cloud"), Template(_WRAPPER)),
    )


def install_cloud(given: Given, wanted: Wanted, *, now: datetime, say: Say) -> None:
    """Check all, then install, and start it.

    Args:
        given: what to install.
        wanted: where and how; its files are filled in here.
        now: for the certificate's validity.
        say: told of each step.

    Raises:
        InstallError: it cannot be installed; everything is as it was.
        ConfigError: settings or certificate cannot be used.
    """
    service = cloud_service()
    check(service, wanted, say)
    there = wanted.place.at(CONFIG)
    content = _files(there) if there.is_dir() else {}
    content.setdefault(SETTINGS_FILE, _DEFAULT.encode())
    if given.settings is not None:
        content[SETTINGS_FILE] = _content(given.settings)
    if given.bundle is not None:
        found = _files(given.bundle)
        if BUNDLE_FILE not in found:
            raise _unusable(
                f"{given.bundle} is no bundle of a service: it has no {BUNDLE_FILE}; "
                f"`edgeqa cloud enrol cloud --service --at {CONFIG}` writes one"
            )
        settings = content[SETTINGS_FILE]
        content = {name: raw for name, raw in found.items() if name in _BUNDLE}
        content[SETTINGS_FILE] = settings
    _check_settings(content, given, wanted.place, now=now, say=say)
    secrets = frozenset({KEY_FILE, PASSWORD_FILE})
    install(service, replace(wanted, files=content, secrets=secrets, known=_BUNDLE), say)


def _check_settings(
    content: dict[str, bytes], given: Given, place: Place, *, now: datetime, say: Say
) -> None:
    folder = given.bundle or place.at(CONFIG)
    environ = _variables(content.get(BUNDLE_FILE, b"").decode("utf-8", "replace"))
    file = given.settings or place.at(CONFIG) / SETTINGS_FILE
    if file.is_file():
        settings = load_settings(CloudSettings, file=file, environ=environ)
    else:
        settings = load_settings(CloudSettings, flags=tomllib.loads(_DEFAULT), environ=environ)
    where = f"{settings.broker}, {settings.database.partition('@')[2] or settings.database}"
    if settings.broker_cert_file is None:
        say("found", where)
        return
    own = [settings.broker_cert_file, settings.broker_key_file]
    here = [
        None if path is None else folder / path.name if path.parent == CONFIG else place.at(path)
        for path in own
    ]
    if here[0] is None:
        raise ConfigError("broker_cert_file: must be set")
    identity = read_identity(CertificateFiles(here[0], here[1]))
    identity.check_owner(Role.SERVICE, settings.broker_username or "")
    identity.check_time(now)
    say("found", f"{where}, certificate until {shown(identity.until)}")


def _variables(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if line.startswith(_PREFIX))
    return {name: value for name, _, value in lines}


def _files(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise _unusable(f"{folder} is not a folder")
    return {path.name: _content(path) for path in sorted(folder.iterdir()) if path.name in _ALL}


def _content(path: Path) -> bytes:
    try:
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > _MOST_BYTES:
            raise _unusable(f"{path} is not a file of a bundle, or of settings")
        return path.read_bytes()
    except OSError as error:
        raise _unusable(f"{path}: {error.strerror}") from error


def _unusable(message: str) -> InstallError:
    return InstallError(message, code="bundle_unusable")
