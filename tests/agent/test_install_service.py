"""`edgeqa agent install` on a machine with a real systemd: up, changed, broken, upgraded, gone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.bundles import TestAuthority
from support.systemd_machine import SystemdMachine, systemd_machine, why_not

from edgeqa.identity.roles import Role

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(why_not() is not None, reason=f"no machine with systemd: {why_not()}"),
]

UNIT = "edgeqa-agent.service"
EDGEQA = "/opt/edgeqa/bin/edgeqa"
BROKER = """\
listener 8883
cafile /etc/broker/ca.crt
certfile /etc/broker/server.crt
keyfile /etc/broker/server.key
require_certificate true
use_identity_as_username true
"""
_WAIT_S = 30.0


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@contextmanager
def with_a_broker(authority: TestAuthority) -> Iterator[SystemdMachine]:
    """A machine with this checkout in /opt/edgeqa, and a broker that trusts the authority."""
    with systemd_machine() as machine:
        machine.install_edgeqa()
        server = authority.issue(Role.SERVICE, "broker")
        machine.write("/etc/broker/ca.crt", authority.cert)
        machine.write("/etc/broker/server.crt", server.cert)
        machine.write("/etc/broker/server.key", server.key)
        machine.write("/etc/broker/mosquitto.conf", BROKER)
        config = "/etc/broker/mosquitto.conf"
        machine.out("systemd-run", "--unit=broker", "mosquitto", "-c", config)
        yield machine


@pytest.fixture(scope="module")
def device(
    authority: TestAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SystemdMachine]:
    """A machine that was made pi5, for tests that only look."""
    with with_a_broker(authority) as machine:
        bundle = authority.bundle(tmp_path_factory.mktemp("bundle") / "pi5")
        for path in bundle.iterdir():
            machine.write(f"/root/pi5/{path.name}", path.read_bytes(), mode=0o600)
        machine.out(EDGEQA, "agent", "install", "/root/pi5")
        yield machine


@pytest.fixture(scope="module")
def booted(authority: TestAuthority) -> Iterator[SystemdMachine]:
    with with_a_broker(authority) as machine:
        yield machine


@pytest.fixture
def machine(booted: SystemdMachine) -> Iterator[SystemdMachine]:
    """One with nothing installed before and after."""
    booted.install_edgeqa()
    yield booted
    booted.install_edgeqa()  # an upgrade uses its environment for another version
    booted.shell("rm -rf /opt/edgeqa-2")
    done = booted.call(EDGEQA, "agent", "uninstall", "--purge")
    assert done.returncode == 0, done.stderr


Carry = Callable[..., str]


@pytest.fixture
def carry(machine: SystemdMachine, authority: TestAuthority, tmp_path: Path) -> Carry:
    """Copy a bundle to the machine, as an operator would; where it is there."""

    def carried(device: str = "pi5", *, more: str = "", **options: str) -> str:
        bundle = authority.bundle(tmp_path / device, device, **options)  # type: ignore[arg-type]
        for path in bundle.iterdir():
            machine.write(f"/root/{device}/{path.name}", path.read_bytes(), mode=0o600)
        if more:
            text = (bundle / "agent.toml").read_text() + more
            machine.write(f"/root/{device}/agent.toml", text)
        return f"/root/{device}"

    return carried


def traces(machine: SystemdMachine) -> str:
    """All that an installation could leave."""
    return machine.shell(
        "ls -ld --time-style=+ /etc/edgeqa* /var/lib/edgeqa* /usr/local/bin/edgeqa "
        f"/etc/systemd/system/{UNIT} /etc/systemd/system/*.wants/{UNIT} 2>/dev/null || true;"
        "grep edgeqa /etc/passwd /etc/group /etc/shadow || true"
    )


def settings_of(machine: SystemdMachine) -> str:
    return machine.shell(
        f"cat /etc/edgeqa/* /etc/systemd/system/{UNIT}; ls -l --time-style=+ /etc/edgeqa"
    )


def test_a_bundle_makes_the_machine_a_device_that_answers(
    device: SystemdMachine, authority: TestAuthority
) -> None:
    assert device.show(UNIT, "ActiveState") == "active"
    assert device.out("systemctl", "is-enabled", UNIT) == "enabled\n"

    client = authority.issue(Role.CLIENT, "phone")
    files = {"ca.crt": authority.cert, "own.crt": client.cert, "own.key": client.key}
    for name, content in files.items():
        device.write(f"/root/phone/{name}", content)
    answer = device.call(
        *("/usr/local/bin/edgeqa", "ask", "Who discovered oxygen?", "--device", "pi5"),
        *("--text", "Oxygen was discovered by Carl Wilhelm Scheele in 1773.", "--json"),
        env={
            "EDGEQA_CLIENT_BROKER": "mqtts://localhost:8883",
            "EDGEQA_CLIENT_BROKER_CA_FILE": "/root/phone/ca.crt",
            "EDGEQA_CLIENT_BROKER_CERT_FILE": "/root/phone/own.crt",
            "EDGEQA_CLIENT_BROKER_KEY_FILE": "/root/phone/own.key",
        },
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["answers"][0]["text"] == "Carl Wilhelm Scheele"


def test_the_agent_runs_with_next_to_no_rights(device: SystemdMachine) -> None:
    pids = device.out("cat", f"/sys/fs/cgroup/{_group(device)}/cgroup.procs").split()

    assert len(pids) == 2, "the agent and its model process"
    user = device.out("id", "-u", "edgeqa").strip()
    for pid in pids:
        lines = device.out("cat", f"/proc/{pid}/status").splitlines()
        fields = {key: value.split() for key, _, value in (one.partition(":") for one in lines)}
        assert set(fields["Uid"]) == {user}
        assert {fields[f"Cap{one}"][0] for one in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
        assert fields["NoNewPrivs"] == ["1"]
        assert fields["Seccomp"] == ["2"]
    # In its view of the machine it can write nowhere but where its state is.
    may = device.shell(
        f"nsenter -t {pids[0]} -m -- setpriv --reuid={user} --clear-groups bash -c '"
        "for f in / /etc /etc/edgeqa /usr /opt/edgeqa /home /root /var/lib /run /boot "
        "/var/lib/edgeqa; do if [ -w $f ]; then echo $f; fi; done'"
    )
    assert may.split() == ["/var/lib/edgeqa"]


def test_nothing_but_the_agents_own_state_is_kept(device: SystemdMachine) -> None:
    """No library leaves caches, or an id of the device, in what is its user's home."""
    names = device.out("ls", "-A", "/var/lib/edgeqa").split()

    assert [name for name in names if name.startswith(".")] == []
    assert "state.json" in names


def test_the_same_again_restarts_nothing(device: SystemdMachine) -> None:
    pid = device.show(UNIT, "MainPID")

    again = device.call(EDGEQA, "agent", "install", "/root/pi5")
    without = device.call(EDGEQA, "agent", "install")

    assert (again.returncode, without.returncode) == (0, 0), again.stderr + without.stderr
    assert device.show(UNIT, "MainPID") == pid


def test_there_is_no_way_back_before_an_upgrade(device: SystemdMachine) -> None:
    done = device.call(EDGEQA, "agent", "upgrade", "--back")

    assert done.returncode == 3
    assert done.stderr.endswith("[no_way_back]\n")
    assert device.show(UNIT, "ActiveState") == "active"


def test_dry_run_changes_nothing(machine: SystemdMachine, carry: Carry) -> None:
    before = traces(machine)

    done = machine.call(EDGEQA, "agent", "install", carry(), "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "would start" in done.stdout
    assert traces(machine) == before


def test_a_first_installation_that_does_not_come_up_leaves_nothing(
    machine: SystemdMachine, carry: Carry
) -> None:
    before = traces(machine)

    done = machine.call(EDGEQA, "agent", "install", carry(more='package = "/usr/share"\n'))

    assert done.returncode == 5, done.stdout + done.stderr
    assert done.stderr.startswith(f"edgeqa: {UNIT} does not come up: ")
    assert done.stderr.endswith("[package_malformed]\n")
    assert done.stderr.count("\n") == 1
    assert traces(machine) == before
    assert machine.call("systemctl", "cat", UNIT).returncode != 0


def test_a_later_one_that_does_not_come_up_brings_back_what_ran(
    machine: SystemdMachine, carry: Carry
) -> None:
    machine.out(EDGEQA, "agent", "install", carry())
    before = settings_of(machine)
    bad = carry(more="broker_connect_timeout_s = 1\n", broker="mqtts://localhost:8999")

    done = machine.call(EDGEQA, "agent", "install", bad)

    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stderr.endswith("[broker_unreachable]\n")
    assert "undone" in done.stdout
    assert settings_of(machine) == before
    assert machine.show(UNIT, "ActiveState") == "active"


@pytest.mark.slow
def test_an_interrupted_installation_is_taken_back(machine: SystemdMachine, carry: Carry) -> None:
    """Here by a lost terminal, while it waits for the agent."""
    before = traces(machine)
    bundle = carry(more="broker_connect_timeout_s = 60\n", broker="mqtts://localhost:8999")
    machine.out("systemd-run", "--unit=installing", EDGEQA, "agent", "install", bundle)
    _until(lambda: machine.show(UNIT, "ActiveState") == "activating")

    machine.out("systemctl", "kill", "--kill-whom=main", "--signal=HUP", "installing")

    _until(lambda: machine.show("installing", "ActiveState") in {"failed", "inactive"})
    machine.call("systemctl", "reset-failed", "installing")
    assert traces(machine) == before


def test_what_cannot_succeed_is_not_restarted_and_what_may_is(
    machine: SystemdMachine, carry: Carry
) -> None:
    machine.out(EDGEQA, "agent", "install", carry())
    machine.out("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
    _until(lambda: machine.show(UNIT, "SubState") == "auto-restart")

    machine.write("/etc/edgeqa/agent.env", "EDGEQA_AGENT_LOG_LEVLE=debug\n")
    machine.call("systemctl", "restart", UNIT)

    assert machine.show(UNIT, "ExecMainStatus") == "3"
    assert machine.show(UNIT, "ActiveState") == "failed"
    said = machine.out("journalctl", "-u", UNIT, "-o", "cat", "-n", "20", "--no-pager")
    assert "did you mean EDGEQA_AGENT_LOG_LEVEL?" in said


def test_nobody_but_root_may(device: SystemdMachine) -> None:
    for command in ("install", "uninstall", "upgrade"):
        done = device.call("setpriv", "--reuid=nobody", "--clear-groups", EDGEQA, "agent", command)

        said = "edgeqa: only root may do this: put `sudo` before it [not_root]\n"
        assert (done.returncode, done.stderr) == (2, said)


def test_an_upgrade_before_there_is_anything_says_so(machine: SystemdMachine) -> None:
    done = machine.call(EDGEQA, "agent", "upgrade")

    assert done.returncode == 3
    assert done.stderr.endswith("[not_installed]\n")


def test_an_environment_without_its_libraries_is_refused(
    machine: SystemdMachine, carry: Carry
) -> None:
    machine.shell(
        "/usr/bin/python3 -m venv --without-pip /opt/edgeqa-2; cd /opt/edgeqa-2/bin; "
        "cp /opt/edgeqa/bin/edgeqa ."
    )
    before = traces(machine)

    done = machine.call(
        EDGEQA, "agent", "install", carry(), "--program", "/opt/edgeqa-2/bin/edgeqa"
    )

    assert done.returncode == 3, done.stderr
    assert "numpy" in done.stderr
    assert done.stderr.endswith("[extra_missing]\n")
    assert traces(machine) == before


@pytest.mark.slow
def test_an_agent_that_hangs_is_ended(machine: SystemdMachine, carry: Carry) -> None:
    machine.out(EDGEQA, "agent", "install", carry())
    dropin = f"/etc/systemd/system/{UNIT}.d/quick.conf"
    machine.write(dropin, "[Service]\nWatchdogSec=8\nRestartSec=1\n")
    machine.out("systemctl", "daemon-reload")
    machine.out("systemctl", "restart", UNIT)
    pid = machine.show(UNIT, "MainPID")

    machine.out("kill", f"-{int(signal.SIGSTOP)}", pid)

    _until(lambda: machine.show(UNIT, "MainPID") not in {"0", pid})
    _until(lambda: machine.show(UNIT, "ActiveState") == "active")
    assert machine.show(UNIT, "NRestarts") == "1"


@pytest.mark.slow
def test_a_model_without_memory_does_not_end_the_agent(
    machine: SystemdMachine, carry: Carry
) -> None:
    """The kernel ends the model process; the agent, left alone by systemd, loads it again."""
    machine.out(EDGEQA, "agent", "install", carry())
    agent = machine.show(UNIT, "MainPID")
    model = machine.out("pgrep", "-P", agent).strip()

    machine.out("kill", "-KILL", model)

    _until(lambda: machine.call("pgrep", "-P", agent).stdout.strip() not in {"", model})
    assert machine.show(UNIT, "MainPID") == agent


@pytest.mark.slow
def test_an_upgrade_comes_up_or_the_version_before_goes_on(
    machine: SystemdMachine, carry: Carry
) -> None:
    machine.out(EDGEQA, "agent", "install", carry())
    offline = {"PIP_NO_INDEX": "1"}

    good = machine.call(EDGEQA, "agent", "upgrade", machine.carry_wheel("0.2.0"), env=offline)
    assert good.returncode == 0, good.stdout + good.stderr
    assert _program(machine) == "/opt/edgeqa-2/bin/edgeqa"
    assert machine.out("/usr/local/bin/edgeqa", "--version") == "0.2.0\n"
    pid = machine.show(UNIT, "MainPID")

    bad = machine.carry_wheel("0.3.0", broken=True)
    failed = machine.call("/usr/local/bin/edgeqa", "agent", "upgrade", bad, env=offline)
    assert failed.returncode == 3, failed.stdout + failed.stderr
    assert failed.stderr.endswith("[upgrade_failed]\n")
    assert "undone" in failed.stdout
    assert _program(machine) == "/opt/edgeqa-2/bin/edgeqa"
    assert machine.show(UNIT, "ActiveState") == "active"
    assert machine.show(UNIT, "MainPID") != pid, "the version before was started again"
    assert machine.out("/usr/local/bin/edgeqa", "--version") == "0.2.0\n"

    back = machine.call("/usr/local/bin/edgeqa", "agent", "upgrade", "--back")
    assert back.returncode == 0, back.stdout + back.stderr
    assert _program(machine) == EDGEQA, "what failed did not cost the version before"
    assert machine.out("/usr/local/bin/edgeqa", "--version") == "0.1.0\n"


@pytest.mark.slow
def test_a_version_that_pip_does_not_find_changes_nothing(
    machine: SystemdMachine, carry: Carry
) -> None:
    machine.out(EDGEQA, "agent", "install", carry())
    pid = machine.show(UNIT, "MainPID")

    done = machine.call(EDGEQA, "agent", "upgrade", "9.9.9", env={"PIP_NO_INDEX": "1"})

    assert done.returncode == 3
    assert "9.9.9" in done.stderr
    assert done.stderr.endswith("[upgrade_failed]\n")
    assert machine.show(UNIT, "MainPID") == pid
    assert machine.call("ls", "/opt/edgeqa-2").returncode != 0


def _program(machine: SystemdMachine) -> str:
    unit = machine.out("cat", f"/etc/systemd/system/{UNIT}")
    return next(line.split("=")[1].split()[0] for line in unit.splitlines() if "ExecStart=" in line)


def _group(machine: SystemdMachine) -> str:
    group = machine.show(UNIT, "ControlGroup").lstrip("/")
    old = os.path.exists(f"/proc/{machine.init}/root/sys/fs/cgroup/systemd")  # noqa: PTH110
    return f"systemd/{group}" if old else group


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
