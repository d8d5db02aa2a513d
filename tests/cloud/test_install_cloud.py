"""The cloud side on a machine with a real systemd, by the commands of docs/install-cloud.md."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.systemd_machine import ROOT, SystemdMachine, systemd_machine, why_not

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=f"no machine with systemd: {why_not()}"),
]

EDGEQA = "/opt/edgeqa-cloud/bin/edgeqa"
UNIT = "edgeqa-cloud.service"
_BLOCK = re.compile(r"<!-- run -->\n```sh\n(.*?)```", re.DOTALL)
_WAIT_S = 40.0


def blocks(page: Path) -> list[str]:
    """What the page says to type, where it can be typed here."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def named_block(page: Path, name: str) -> str:
    """One of them; what it installs is here already."""
    found = re.search(rf"<!-- run: {name} -->\n```sh\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None, name
    return "\n".join(line for line in found[1].splitlines() if not line.startswith("apt-get"))


@pytest.fixture(scope="module")
def site() -> Iterator[SystemdMachine]:
    """A machine on which the page was followed to its end, with the bundle of pi5."""
    with systemd_machine() as machine:
        machine.install_edgeqa("/opt/edgeqa-cloud")
        found = blocks(ROOT / "docs/install-cloud.md")
        assert len(found) == 5
        for block in found:
            machine.shell(block)
        yield machine


def test_the_page_leads_to_a_fleet_with_a_device_and_a_revocation_ends_it(
    site: SystemdMachine,
) -> None:
    assert site.show(UNIT, "ActiveState") == "active"
    assert site.out("systemctl", "is-enabled", UNIT) == "enabled\n"
    site.install_edgeqa("/opt/edgeqa")
    bundle = "/var/lib/edgeqa-cloud/pi5"
    # Of the broker's names devices are told the first, which this machine does not know.
    site.shell(f"sed -i s/broker.example/localhost/ {bundle}/agent.toml")
    site.out("/opt/edgeqa/bin/edgeqa", "agent", "install", bundle)
    _until(lambda: "pi5     online" in site.out("edgeqa-cloud", "fleet", "list"))

    site.out("edgeqa-cloud", "cloud", "revoke", "pi5")

    # The broker has read it by itself; an open connection is mute, a new one is refused.
    _until(lambda: site.show("edgeqa-broker.service", "ExecMainStartTimestampMonotonic") != "0")
    site.call("systemctl", "restart", "edgeqa-agent")
    assert site.show("edgeqa-agent", "ExecMainStatus") == "4"


def test_the_same_again_restarts_nothing(site: SystemdMachine) -> None:
    pid = site.show(UNIT, "MainPID")

    done = site.call(EDGEQA, "cloud", "install")

    assert done.returncode == 0, done.stderr
    assert site.show(UNIT, "MainPID") == pid


def test_settings_that_cannot_work_bring_back_what_ran(site: SystemdMachine) -> None:
    before = site.out("cat", "/etc/edgeqa-cloud/cloud.toml")
    site.write("/root/mistake.toml", before + 'databse = "x"\n')
    site.write("/root/taken.toml", before + 'listen = "127.0.0.1:8883"\n')  # the broker's

    mistake = site.call(EDGEQA, "cloud", "install", "--settings", "/root/mistake.toml")
    taken = site.call(EDGEQA, "cloud", "install", "--settings", "/root/taken.toml")

    assert (mistake.returncode, taken.returncode) == (3, 4), mistake.stderr + taken.stderr
    assert "did you mean database?" in mistake.stderr
    assert "does not come up" in taken.stderr
    assert site.out("cat", "/etc/edgeqa-cloud/cloud.toml") == before
    assert site.show(UNIT, "ActiveState") == "active"


def test_what_others_must_not_read_they_cannot(site: SystemdMachine) -> None:
    secrets = (
        "/etc/edgeqa-cloud/authority-passphrase /etc/edgeqa-cloud/identity.key "
        "/var/lib/edgeqa-cloud/authority/device/ca.key /var/lib/edgeqa-cloud/cloud.db "
        "/var/lib/edgeqa-broker/server.key"
    )
    for user, may in (("nobody", ""), ("mosquitto", "/var/lib/edgeqa-broker/server.key\n")):
        read = site.shell(
            f"setpriv --reuid={user} --regid={user.replace('nobody', 'nogroup')} --clear-groups "
            f"sh -c 'for f in {secrets}; do if [ -r $f ]; then echo $f; fi; done'"
        )
        assert read == may


POSTGRESQL = """
mkdir -p /run/postgresql && chown postgres: /run/postgresql
cat >/root/start <<'EOF'
cd /
{bin}/initdb -A peer -D /var/lib/postgresql/new
{bin}/pg_ctl -D /var/lib/postgresql/new -o '-c listen_addresses= -k /run/postgresql' \\
  -l /var/lib/postgresql/new.log start
EOF
su postgres -s /bin/bash <{start} >/dev/null
cd /
su postgres -c 'createuser edgeqa-cloud'
su postgres -c 'createdb --owner=edgeqa-cloud edgeqa'
systemctl stop edgeqa-cloud
sed -i 's|^database = .*|database = "postgresql://edgeqa-cloud@/edgeqa?host=/run/postgresql"|' \\
  /etc/edgeqa-cloud/cloud.toml
edgeqa-cloud cloud migrate
"""


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_was_backed_up_comes_back_on_a_new_machine(
    site: SystemdMachine, database: str
) -> None:
    """By the commands of docs/upgrading.md, the first machine lost in between."""
    page = ROOT / "docs/upgrading.md"
    suffix = "" if database == "sqlite" else " postgresql"
    backup, restore = named_block(page, "backup"), named_block(page, "restore")
    if suffix:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            pytest.skip("needs postgresql")
        site.shell(POSTGRESQL.format(bin=programs[-1], start="/root/start"))
        # In place of the lines about cloud.db.
        backup = "\n".join(line for line in backup.splitlines() if "cloud.db" not in line)
        backup += "\ncd /\n" + named_block(page, f"backup{suffix}")
        lines = [line for line in restore.splitlines() if "cloud.db" not in line]
        lines.insert(2, "cd /\n" + named_block(page, f"restore{suffix}"))
        restore = "\n".join(lines)
    name = f"pi-{database}"
    site.out("edgeqa-cloud", "cloud", "enrol", name)
    site.out(EDGEQA, "cloud", "install")
    before = site.out("edgeqa-cloud", "cloud", "enrolled")

    site.shell(backup)
    # The machine is lost: here all that it had of EdgeQA, and what the broker kept.
    site.out(EDGEQA, "cloud", "uninstall", "--purge")
    site.shell("systemctl stop mosquitto; rm -f /var/lib/mosquitto/*")
    if suffix:
        site.shell("cd /; su postgres -c 'dropdb edgeqa'")
    site.shell(blocks(ROOT / "docs/install-cloud.md")[0])
    site.shell(restore)

    assert name in before
    assert site.out("edgeqa-cloud", "cloud", "enrolled") == before
    assert site.show(UNIT, "ActiveState") == "active"


def test_purge_leaves_nothing(site: SystemdMachine) -> None:
    site.out(EDGEQA, "cloud", "uninstall", "--purge")

    left = site.shell(
        "ls -d /etc/edgeqa-cloud /var/lib/edgeqa-cloud /var/lib/edgeqa-broker "
        f"/etc/systemd/system/{UNIT} /usr/local/sbin/edgeqa-cloud 2>/dev/null || true; "
        "grep edgeqa-cloud /etc/passwd /etc/group || true"
    )
    assert left == ""


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
