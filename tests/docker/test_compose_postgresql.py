"""compose.yaml with what `.env.example` says of PostgreSQL, and a real PostgreSQL for its image."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.compose import Composition, Service
from support.images import DOCKER
from support.pod import Pod

from edgeqa.postgres_process import programs

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]
# What the image's entry point makes of its environment.
_START = """
set -eu
[ -d "$PGDATA" ] || {
    initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" \
        --auth scram-sha-256 --no-locale --encoding UTF8
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres
}
exec postgres -D "$PGDATA" -c listen_addresses=127.0.0.1
"""


def second_values() -> dict[str, str]:
    """What `.env.example` says to set with the profile: the second value of both."""
    found: dict[str, list[str]] = {}
    for line in (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines():
        if line.startswith("#EDGEQA_DATABASE"):
            name, _, value = line.removeprefix("#").partition("=")
            found.setdefault(name, []).append(value)
    return {name: values[1] for name, values in found.items()}


def stand_in(service: Service) -> Service:
    """The service with Debian's PostgreSQL."""
    path = f"{programs()}:/usr/bin:/bin"
    spec = {
        **service.spec,
        "user": "10001:10001",
        "cap_add": [],
        "entrypoint": ["/bin/sh", "-c", f"PATH={path}\n{_START}"],
    }
    return Service(service.name, spec)


def test_the_profile_postgresql(tmp_path: Path) -> None:
    shutil.copytree(DOCKER, tmp_path / "docker", ignore=shutil.ignore_patterns("secrets", ".env"))
    subprocess.run(["sh", tmp_path / "docker" / "make-secrets.sh"], check=True, capture_output=True)
    composition = Composition(tmp_path / "docker" / "compose.yaml", second_values())
    composition.services["postgresql"] = stand_in(composition.services["postgresql"])
    with Pod(composition, tmp_path) as pod:
        os.chown(pod.volume("postgresql-data"), 10001, 10001)
        # `init` waits for the database.
        pod.up("cloud", "agent", "broker", "init", "prepare")
        pod.wait_for(lambda: "database_unreachable" in pod.log("init"), "a try")
        pod.up("postgresql")
        for name in ("broker", "cloud", "agent"):
            pod.wait_for(lambda name=name: pod.healthy(name), f"a healthy {name}")
        pod.wait_for(
            lambda: "1 online" in pod.execute("cloud", "edgeqa", "fleet").stdout, "an agent"
        )
        assert not list(pod.volume("cloud-data").glob("*.db"))
        secret = composition.secrets["database_password"].read_text()
        for name in ("init", "cloud", "postgresql"):
            assert secret not in pod.log(name)
