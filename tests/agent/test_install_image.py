"""`edgeqa agent install --root`: an image's folder becomes a device, or stays as it was."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.bundles import TestAuthority

from edgeqa.cli import main
from edgeqa.identity.roles import Role

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes users and owners, for which it needs root"),
]

_PASSWD = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
_UNIT = "etc/systemd/system/edgeqa-agent.service"
_AARCH64, _ARM = 183, 40


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def edgeqa(*words: object) -> Done:
    """The command, in this process: its start would take longer than its work."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["edgeqa", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = argv
    return Done(code, out.getvalue(), err.getvalue())


def program_head(*, bits: int = 64, machine: int = _AARCH64) -> bytes:
    """The beginning of a program, elf(5)."""
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    return ident + (3).to_bytes(2, "little") + machine.to_bytes(2, "little") + bytes(44)


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture
def bundle(authority: TestAuthority, tmp_path: Path) -> Path:
    return authority.bundle(tmp_path / "pi5")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What matters of an arm64 Debian with EdgeQA in /opt/edgeqa."""
    root = tmp_path / "image"
    for folder in ("etc", "opt/edgeqa/bin", "usr/bin", "var/lib"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text("root:x:0:\ndaemon:x:1:\n")
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (root / "usr/bin/python3.11").write_bytes(program_head())
    (root / "opt/edgeqa/bin/python3").symlink_to("/usr/bin/python3.11")
    (root / "opt/edgeqa/bin/python").symlink_to("python3")
    (root / "opt/edgeqa/bin/edgeqa").write_text("#!/opt/edgeqa/bin/python\n")
    (root / "opt/edgeqa/pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    (root / "opt/edgeqa/lib/python3.11/site-packages/edgeqa-0.1.0.dist-info").mkdir(parents=True)
    return root


Entry = tuple[int, int, int, object]


def tree(root: Path) -> dict[str, Entry]:
    """All that is there, with owners and modes; not the copies that useradd keeps."""
    found: dict[str, Entry] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.endswith(("-", ".lock")):
            continue
        state = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        found[name] = (state.st_mode, state.st_uid, state.st_gid, content)
    return found


def test_an_image_becomes_a_device(image: Path, bundle: Path) -> None:
    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == 0, done.stderr
    passwd = {line.split(":")[0]: line.split(":") for line in _lines(image / "etc/passwd")}
    uid, gid = int(passwd["edgeqa"][2]), int(passwd["edgeqa"][3])
    assert passwd["edgeqa"][5:] == ["/var/lib/edgeqa", "/usr/sbin/nologin"]
    assert 0 < uid < 1000
    assert _owned(image / "etc/edgeqa") == (0, gid, 0o750)
    assert _owned(image / "var/lib/edgeqa") == (uid, gid, 0o700)
    assert _owned(image / "etc/edgeqa/identity.key") == (uid, gid, 0o600)
    for name in ("agent.toml", "ca.crt", "identity.crt"):
        assert _owned(image / "etc/edgeqa" / name) == (0, gid, 0o640)
        assert (image / "etc/edgeqa" / name).read_bytes() == (bundle / name).read_bytes()
    assert "ExecStart=/opt/edgeqa/bin/edgeqa agent run" in _lines(image / _UNIT)
    wants = image / "etc/systemd/system/multi-user.target.wants/edgeqa-agent.service"
    assert str(wants.readlink()) == "/etc/systemd/system/edgeqa-agent.service"
    assert str((image / "usr/local/bin/edgeqa").readlink()) == "/opt/edgeqa/bin/edgeqa"
    assert "aarch64" in done.stdout


def test_the_same_again_changes_nothing(image: Path, bundle: Path) -> None:
    edgeqa("agent", "install", bundle, "--root", image)
    before = tree(image)

    again = edgeqa("agent", "install", bundle, "--root", image)
    without = edgeqa("agent", "install", "--root", image)

    assert (again.returncode, without.returncode) == (0, 0), again.stderr + without.stderr
    assert tree(image) == before
    done = [line.split()[0] for line in again.stdout.splitlines()]
    assert set(done) <= {"found", "as", "note"}


def test_dry_run_tells_all_and_does_nothing(image: Path, bundle: Path) -> None:
    before = tree(image)

    dry = edgeqa("agent", "install", bundle, "--root", image, "--dry-run")
    after = tree(image)
    real = edgeqa("agent", "install", bundle, "--root", image)

    assert (dry.returncode, real.returncode) == (0, 0), dry.stderr + real.stderr
    assert after == before
    would = [line.split()[2] for line in dry.stdout.splitlines() if line.startswith("would")]
    did = [line.split()[1] for line in real.stdout.splitlines() if line[:5] in {"make ", "write"}]
    assert set(did) <= set(would)
    assert "/etc/edgeqa/identity.key" in did


def test_what_has_gone_wrong_by_hand_is_put_right(image: Path, bundle: Path) -> None:
    edgeqa("agent", "install", bundle, "--root", image)
    good = tree(image)
    state = image / "var/lib/edgeqa"
    (state / "state.json").write_text("{}")  # an agent that root started once
    os.chown(state, 0, 0)
    (image / "etc/edgeqa/identity.key").chmod(0o644)
    (image / "etc/edgeqa/agent.toml").write_text("device = 'other'")
    (image / _UNIT).unlink()

    # Which device it is cannot be told by a damaged file alone.
    (image / "etc/edgeqa/agent.toml").write_text("devise = 'pi5'")
    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == 0, done.stderr
    left = tree(image)
    assert left.pop("var/lib/edgeqa/state.json")[1:3] == good["var/lib/edgeqa"][1:3]
    assert left == good


def test_a_key_of_the_bundle_before_does_not_lie_about(image: Path, bundle: Path) -> None:
    edgeqa("agent", "install", bundle, "--root", image)
    (image / "etc/edgeqa/agent.env").write_text("EDGEQA_AGENT_LOG_LEVEL=debug\n")
    (bundle / "agent.toml").write_text(
        'device = "pi5"\nbroker = "mqtts://localhost:8893"\nbroker_username = "pi5"\n'
        'broker_password_file = "/etc/edgeqa/password"\nbroker_ca_file = "/etc/edgeqa/ca.crt"\n'
    )
    (bundle / "password").write_text("hunter2\n")
    for name in ("identity.crt", "identity.key"):
        (bundle / name).unlink()

    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == 0, done.stderr
    kept = {path.name: path.stat().st_mode & 0o777 for path in (image / "etc/edgeqa").iterdir()}
    assert kept == {"agent.env": 0o644, "agent.toml": 0o640, "ca.crt": 0o640, "password": 0o600}
    assert "hunter2" not in done.stdout + done.stderr


def blocked_settings(image: Path) -> None:
    (image / "etc/edgeqa").write_text("a file")


def blocked_key(image: Path) -> None:
    (image / "etc/edgeqa/identity.key").mkdir(parents=True)


def blocked_state(image: Path) -> None:
    (image / "var/lib/edgeqa").symlink_to("/mnt/elsewhere")


def blocked_unit(image: Path) -> None:
    (image / _UNIT).mkdir(parents=True)


def blocked_command(image: Path) -> None:
    (image / "usr/local").write_text("a file")


def blocked_boot(image: Path) -> None:
    (image / "etc/systemd/system").mkdir(parents=True)
    (image / "etc/systemd/system/multi-user.target.wants").write_text("a file")


def blocked_user(image: Path) -> None:
    (image / "etc/passwd").rename(image / "etc/passwd.old")
    (image / "etc/passwd").mkdir()


@pytest.mark.parametrize(
    "block",
    [
        blocked_settings,
        blocked_key,
        blocked_state,
        blocked_unit,
        blocked_command,
        blocked_boot,
        blocked_user,
    ],
)
def test_what_fails_on_the_way_leaves_what_was_there(
    image: Path, bundle: Path, block: Callable[[Path], None]
) -> None:
    block(image)
    before = tree(image)

    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.startswith("edgeqa: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    after = tree(image)
    for made in ("etc/.pwd", "etc/subuid", "etc/subgid", "etc/gshadow"):
        after.pop(made, None)  # useradd's own
    assert after == before


@pytest.mark.parametrize("block", [blocked_unit, blocked_command])
def test_an_installation_that_cannot_be_renewed_stays(
    image: Path, bundle: Path, authority: TestAuthority, block: Callable[[Path], None]
) -> None:
    edgeqa("agent", "install", bundle, "--root", image)
    (image / _UNIT).unlink()
    shutil.rmtree(image / "usr/local")
    block(image)
    before = tree(image)
    authority.bundle(bundle)  # another key

    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == 3
    assert tree(image) == before


def no_settings(bundle: Path, authority: TestAuthority) -> None:
    (bundle / "agent.toml").unlink()


def no_device(bundle: Path, authority: TestAuthority) -> None:
    text = (bundle / "agent.toml").read_text()
    (bundle / "agent.toml").write_text(text.replace('device = "pi5"\n', ""))


def typing_mistake(bundle: Path, authority: TestAuthority) -> None:
    with (bundle / "agent.toml").open("a") as file:
        file.write('brokre = "x"\n')


def no_key(bundle: Path, authority: TestAuthority) -> None:
    (bundle / "identity.key").unlink()


def key_of_another(bundle: Path, authority: TestAuthority) -> None:
    (bundle / "identity.key").write_bytes(authority.issue(Role.DEVICE, "pi5").key)


def no_pem(bundle: Path, authority: TestAuthority) -> None:
    (bundle / "identity.crt").write_text("-----BEGIN CERTIFICATE-----\nx\n")


def expired(bundle: Path, authority: TestAuthority) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=9)
    authority.bundle(bundle, pair=authority.issue(Role.DEVICE, "pi5", since=long_ago, days=8))


def not_yet(bundle: Path, authority: TestAuthority) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    authority.bundle(bundle, pair=authority.issue(Role.DEVICE, "pi5", since=later))


def another_device(bundle: Path, authority: TestAuthority) -> None:
    authority.bundle(bundle, pair=authority.issue(Role.DEVICE, "pi6"))


def another_role(bundle: Path, authority: TestAuthority) -> None:
    authority.bundle(bundle, pair=authority.issue(Role.SERVICE, "pi5"))


def a_link_in_it(bundle: Path, authority: TestAuthority) -> None:
    (bundle / "notes").symlink_to("/etc/shadow")


def a_folder_in_it(bundle: Path, authority: TestAuthority) -> None:
    (bundle / "pi5").mkdir()


def far_too_large(bundle: Path, authority: TestAuthority) -> None:
    (bundle / "model.onnx").write_bytes(bytes(2 << 20))


@pytest.mark.parametrize(
    ("spoil", "code", "exit_code"),
    [
        (no_settings, "bundle_unusable", 3),
        (no_device, "bundle_unusable", 3),
        (typing_mistake, "invalid_config", 3),
        (no_key, "bundle_unusable", 3),
        (key_of_another, "certificate_key_mismatch", 3),
        (no_pem, "certificate_unreadable", 3),
        (expired, "certificate_expired", 3),
        (not_yet, "certificate_not_yet_valid", 4),
        (another_device, "certificate_of_another", 3),
        (another_role, "certificate_of_another", 3),
        (a_link_in_it, "bundle_unusable", 3),
        (a_folder_in_it, "bundle_unusable", 3),
        (far_too_large, "bundle_unusable", 3),
    ],
)
def test_a_bundle_that_cannot_work_is_refused_before_anything_is_done(
    *,
    image: Path,
    bundle: Path,
    authority: TestAuthority,
    spoil: Callable[[Path, TestAuthority], None],
    code: str,
    exit_code: int,
) -> None:
    before = tree(image)
    spoil(bundle, authority)

    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == exit_code, done.stderr
    assert done.stderr.endswith(f"[{code}]\n")
    assert done.stderr.count("\n") == 1
    assert tree(image) == before


def test_what_the_device_has_renewed_counts(
    image: Path, bundle: Path, authority: TestAuthority
) -> None:
    """A bundle's certificate lasts 90 days; upgrades of later years must not ask for another."""
    edgeqa("agent", "install", bundle, "--root", image)
    long_ago = datetime.now(UTC) - timedelta(days=9)
    old = authority.issue(Role.DEVICE, "pi5", since=long_ago, days=8)
    (image / "etc/edgeqa/identity.crt").write_bytes(old.cert)
    (image / "etc/edgeqa/identity.key").write_bytes(old.key)
    without = edgeqa("agent", "install", "--root", image)

    renewed = authority.issue(Role.DEVICE, "pi5")
    (image / "var/lib/edgeqa/identity").mkdir()
    (image / "var/lib/edgeqa/identity/renewed.pem").write_bytes(renewed.key + renewed.cert)
    done = edgeqa("agent", "install", "--root", image)

    assert without.returncode == 3
    assert without.stderr.endswith("[certificate_expired]\n")
    assert done.returncode == 0, done.stderr


def test_a_device_does_not_become_another_by_mistake(
    image: Path, bundle: Path, authority: TestAuthority, tmp_path: Path
) -> None:
    edgeqa("agent", "install", bundle, "--root", image)
    before = tree(image)

    done = edgeqa("agent", "install", authority.bundle(tmp_path / "pi6", "pi6"), "--root", image)

    assert done.returncode == 3
    assert done.stderr.endswith("[installed_as_another]\n")
    assert tree(image) == before


def of_32_bits(image: Path) -> None:
    (image / "usr/bin/python3.11").write_bytes(program_head(bits=32, machine=_ARM))


def of_another_processor(image: Path) -> None:
    (image / "usr/bin/python3.11").write_bytes(program_head(machine=243))


def python_3_9(image: Path) -> None:
    (image / "opt/edgeqa/pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.9.2\n")


def no_program(image: Path) -> None:
    shutil.rmtree(image / "opt/edgeqa")


def python_in_a_home(image: Path) -> None:
    (image / "home/pi").mkdir(parents=True)
    (image / "home/pi/python3").write_bytes(program_head())
    (image / "opt/edgeqa/bin/python3").unlink()
    (image / "opt/edgeqa/bin/python3").symlink_to("/home/pi/python3")


def writable_by_all(image: Path) -> None:
    (image / "opt/edgeqa/bin").chmod(0o777)


def of_a_user(image: Path) -> None:
    os.chown(image / "opt/edgeqa/bin/edgeqa", 1000, 1000)


def in_circles(image: Path) -> None:
    (image / "opt/edgeqa/bin/python3").unlink()
    (image / "opt/edgeqa/bin/python3").symlink_to("python")


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (of_32_bits, "wrong_machine", "64-bit Raspberry Pi OS"),
        (of_another_processor, "wrong_machine", "aarch64"),
        (python_3_9, "wrong_machine", "3.11"),
        (no_program, "program_unusable", "python3 -m venv /opt/edgeqa"),
        (python_in_a_home, "program_unusable", "/home/pi/python3"),
        (writable_by_all, "program_unusable", "chmod go-w /opt/edgeqa/bin"),
        (of_a_user, "program_unusable", "chown root:root /opt/edgeqa/bin/edgeqa"),
        (in_circles, "program_unusable", "links without end"),
    ],
)
def test_a_machine_that_cannot_run_it_is_refused_before_anything_is_done(
    image: Path, bundle: Path, spoil: Callable[[Path], None], code: str, says: str
) -> None:
    spoil(image)
    before = tree(image)

    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == 3, done.stderr
    assert done.stderr.endswith(f"[{code}]\n")
    assert says in done.stderr
    assert tree(image) == before


@pytest.fixture
def small_disk(image: Path) -> Iterator[None]:
    """For state, of one megabyte."""
    folder = image / "var/lib"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("small_disk")
def test_without_room_for_state_nothing_is_begun(image: Path, bundle: Path) -> None:
    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == 3
    assert done.stderr.endswith("[disk_full]\n")
    assert not (image / "etc/edgeqa").exists()


def test_links_in_an_image_do_not_lead_out_of_it(image: Path, bundle: Path) -> None:
    """/usr/bin/python3.11 of this machine, if it has one, is not that of the image."""
    (image / "usr/bin/python3.11").unlink()

    done = edgeqa("agent", "install", bundle, "--root", image)

    assert done.returncode == 3
    assert "/usr/bin/python3.11" in done.stderr


@pytest.mark.skipif(
    Path("/run/systemd/system").is_dir(), reason="this machine was booted with systemd"
)
def test_without_systemd_it_says_what_else_there_is(bundle: Path) -> None:
    done = edgeqa("agent", "install", bundle)

    assert done.returncode == 3
    assert done.stderr.endswith("[no_systemd]\n")


def test_uninstall_leaves_settings_and_state_and_purge_nothing(image: Path, bundle: Path) -> None:
    untouched = tree(image)
    edgeqa("agent", "install", bundle, "--root", image)
    (image / "var/lib/edgeqa/state.json").write_text("{}")
    settings = tree(image / "etc/edgeqa")

    kept = edgeqa("agent", "uninstall", "--root", image)

    assert kept.returncode == 0, kept.stderr
    assert not (image / _UNIT).exists()
    assert not (image / "usr/local/bin/edgeqa").is_symlink()
    wants = image / "etc/systemd/system/multi-user.target.wants"
    assert not (wants / "edgeqa-agent.service").is_symlink()
    assert tree(image / "etc/edgeqa") == settings
    assert (image / "var/lib/edgeqa/state.json").exists()

    dry = edgeqa("agent", "uninstall", "--purge", "--dry-run", "--root", image)
    assert "would remove  /var/lib/edgeqa/ and all in it" in dry.stdout
    assert (image / "var/lib/edgeqa/state.json").exists()

    purged = edgeqa("agent", "uninstall", "--purge", "--root", image)
    again = edgeqa("agent", "uninstall", "--purge", "--root", image)

    assert (purged.returncode, again.returncode) == (0, 0), purged.stderr + again.stderr
    left = tree(image)
    assert {name for name in left if "edgeqa" in name} == {
        name for name in untouched if "edgeqa" in name
    }
    assert left["etc/passwd"] == untouched["etc/passwd"]


def test_a_command_of_somebody_else_is_left_alone(image: Path, bundle: Path) -> None:
    (image / "usr/local/bin").mkdir(parents=True)
    (image / "usr/local/bin/edgeqa").symlink_to("/srv/mine/edgeqa")

    edgeqa("agent", "install", bundle, "--root", image)
    edgeqa("agent", "uninstall", "--root", image)

    assert str((image / "usr/local/bin/edgeqa").readlink()) == "/srv/mine/edgeqa"


def test_two_installations_at_once_are_one(image: Path, bundle: Path) -> None:
    held = subprocess.Popen(["flock", str(image), "sleep", "60"])
    try:
        _until_locked(image)
        done = edgeqa("agent", "install", bundle, "--root", image)
    finally:
        held.kill()
        held.wait()

    assert done.returncode == 3
    assert done.stderr.endswith("[install_under_way]\n")
    assert not (image / "etc/edgeqa").exists()


def _until_locked(folder: Path) -> None:
    while subprocess.run(["flock", "-n", str(folder), "true"], check=False).returncode == 0:
        pass


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _owned(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_uid, state.st_gid, state.st_mode & 0o7777
