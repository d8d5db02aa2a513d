"""Keys on disk: who can read them, what opens them, what is refused."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from support.repository import Repository, edgeqa_models, make_package, make_repository

from edgeqa.errors import ConfigError
from edgeqa.identity import envelope
from edgeqa_models.repository.environment import Passphrase
from edgeqa_models.repository.keys import KeyFolder, public_pem, read_public_key

PHRASE = "correct horse battery"
WITH = {"EDGEQA_MODELS_PASSPHRASE": PHRASE}


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository whose keys have a passphrase."""
    folder = tmp_path_factory.mktemp("encrypted")
    made = Repository(folder / "repo", folder / "keys")
    assert made.run("init", env=WITH).exit_code == 0
    return made


@pytest.fixture
def repository(encrypted: Repository, tmp_path: Path) -> Repository:
    return encrypted.copy(tmp_path)


def folder_of(path: Path, phrase: str | None = None) -> KeyFolder:
    environ = {"EDGEQA_MODELS_PASSPHRASE": phrase} if phrase else {}
    return KeyFolder(path, Passphrase(environ=environ, ask=None), repository=None)


def test_a_key_is_one_private_file_that_openssl_reads_too(repository: Repository) -> None:
    files = sorted(repository.keys.glob("*.pem"))
    assert [path.stem.partition("-")[0] for path in files] == [
        "root",
        "snapshot",
        "targets",
        "timestamp",
    ]
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
        assert load_pem_private_key(path.read_bytes(), PHRASE.encode())
    openssl = shutil.which("openssl")
    if openssl:
        subprocess.run(
            [openssl, "pkey", "-in", files[0], "-passin", f"pass:{PHRASE}", "-noout"], check=True
        )


@pytest.mark.parametrize("passphrase", [b"x", "süß und geheim".encode(), bytes(range(100))])
def test_a_key_comes_back_with_its_passphrase_alone(passphrase: bytes) -> None:
    seed = os.urandom(32)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    pem = envelope.to_pem(key, passphrase)
    again = load_pem_private_key(pem, passphrase)
    assert isinstance(again, Ed25519PrivateKey)
    assert again.private_bytes_raw() == seed
    with pytest.raises(ValueError, match="password"):
        load_pem_private_key(pem, passphrase + b"x")


@pytest.mark.parametrize("given", ["variable", "file", "file with a line after it"])
def test_the_passphrase_comes_from_the_environment(
    given: str, repository: Repository, tmp_path: Path
) -> None:
    file = tmp_path / "phrase"
    file.write_text(PHRASE + ("\r\nnotes\n" if "line" in given else "\n"))
    env = WITH if given == "variable" else {"EDGEQA_MODELS_PASSPHRASE_FILE": str(file)}
    assert repository.run("sign", env=env).exit_code == 0
    assert repository.run("rotate", "timestamp", env=env).exit_code == 0


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ({}, "passphrase_missing"),
        ({"EDGEQA_MODELS_PASSPHRASE": "wrong horse battery"}, "passphrase_wrong"),
        ({"EDGEQA_MODELS_PASSPHRASE_FILE": "/nowhere"}, "passphrase_missing"),
        ({"EDGEQA_MODELS_PASSPHRASE_FILE": os.devnull}, "passphrase_missing"),
    ],
)
def test_without_the_right_passphrase_nothing_happens(
    env: dict[str, str], code: str, repository: Repository, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for arguments in (("sign",), ("rotate", "root")):
        done = repository.run(*arguments, env=env)
        assert (done.exit_code, done.code) == (3, code)
        assert PHRASE not in done.stderr
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    after.pop(repository.path / ".lock")
    assert after == before


def test_keys_without_a_passphrase_are_made_only_on_demand(tmp_path: Path) -> None:
    made = Repository(tmp_path / "repo", tmp_path / "keys")
    done = made.run("init")
    assert (done.exit_code, done.code) == (3, "passphrase_missing")
    assert "--no-passphrase" in done.stderr
    weak = made.run("init", env={"EDGEQA_MODELS_PASSPHRASE": "horse"})
    assert (weak.exit_code, weak.code) == (3, "passphrase_weak")
    assert not made.path.exists()
    assert not list(tmp_path.rglob("*.pem"))


def test_all_keys_of_a_folder_have_one_passphrase(repository: Repository) -> None:
    other = {"EDGEQA_MODELS_PASSPHRASE": "another passphrase"}
    done = edgeqa_models("repository", "key", "root", "--keys", repository.keys, env=other)
    assert (done.exit_code, done.code) == (3, "passphrase_wrong")
    assert len(list(repository.keys.glob("*.pem"))) == 4


def test_a_person_is_asked_twice_for_a_new_passphrase_and_once_to_sign(tmp_path: Path) -> None:
    def talk(*arguments: object, answers: list[str]) -> tuple[int, str]:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeqa.cli", "models", *map(str, arguments)],
            stdin=slave, stdout=slave, stderr=slave, close_fds=True, start_new_session=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("EDGEQA_")},
        )  # fmt: skip
        os.close(slave)
        said = b""
        while True:
            try:
                ready, _, _ = select.select([master], [], [], 30)
                said += os.read(master, 4096) if ready else b""
            except OSError:  # it has closed its end
                break
            if answers and re.search(rb"(: |\]: )$", said):
                os.write(master, answers.pop(0).encode() + b"\n")
                said += b"\n"
        os.close(master)
        return process.wait(timeout=30), said.decode()

    place = (tmp_path / "repo", "--keys", tmp_path / "keys")
    status, said = talk("repository", "init", *place, answers=[PHRASE, PHRASE])
    assert status == 0, said
    assert PHRASE not in said
    status, said = talk("repository", "sign", *place, answers=[PHRASE])
    assert status == 0, said
    assert "published timestamp 2" in said
    status, said = talk("repository", "sign", *place, answers=["not the phrase"])
    assert status == 3
    assert "[passphrase_wrong]" in said


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_keys_that_others_can_read_are_refused(mode: int, repository: Repository) -> None:
    for path in repository.keys.glob("root-*.pem"):
        path.chmod(mode)
    for arguments in (("sign",), ("status",)):
        done = repository.run(*arguments, env=WITH)
        assert (done.exit_code, done.code) == (3, "key_exposed")
        assert "chmod 600" in done.stderr


def test_keys_in_the_repository_are_refused(repository: Repository, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(repository.path)
    for keys in (repository.path, repository.path / "keys", link / "targets" / "keys"):
        inside = Repository(repository.path, keys)
        for arguments in (("sign",), ("rotate", "root", "--no-passphrase")):
            done = inside.run(*arguments, env=WITH)
            assert (done.exit_code, done.code) == (3, "keys_in_repository")
    fresh = Repository(tmp_path / "fresh", tmp_path / "fresh" / "keys")
    assert fresh.run("init", "--no-passphrase").code == "keys_in_repository"
    assert not fresh.path.exists()


def test_what_present_keys_can_renew_is_renewed(repository: Repository, tmp_path: Path) -> None:
    [path] = repository.keys.glob("snapshot-*.pem")
    path.unlink()
    done = repository.run("publish", make_package(tmp_path), env=WITH)
    assert (done.exit_code, done.code) == (3, "key_missing")
    assert "no key of snapshot" in done.stderr
    assert not list(repository.path.glob("targets/*"))
    done = repository.run("sign", "--renew", env=WITH)
    assert done.exit_code == 0, done.stderr
    assert "published timestamp 2" in done.stdout
    assert "published root 2" in done.stdout
    assert "waiting   snapshot 2: 1 more signature(s)" in done.stdout
    nobody = Repository(repository.path, tmp_path / "none")
    done = nobody.run("sign", env=WITH)
    assert (done.exit_code, done.code) == (3, "key_missing")


def ecdsa_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("damage", ["empty", "junk", "cut", "other private key", "ecdsa"])
def test_a_damaged_key_is_named(damage: str, tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    [path] = repository.keys.glob("timestamp-*.pem")
    [other] = repository.keys.glob("snapshot-*.pem")
    content = path.read_bytes()
    public, _, private = content.partition(b"-----BEGIN PRIVATE")
    path.write_bytes(
        {
            "empty": b"",
            "junk": b"\0" * 200,
            "cut": public + b"-----BEGIN PRIVATE" + private[:40] + b"\n-----END PRIVATE KEY-----\n",
            "other private key": public
            + b"-----BEGIN PRIVATE"
            + other.read_bytes().partition(b"-----BEGIN PRIVATE")[2],
            "ecdsa": ecdsa_pem(),
        }[damage]
    )
    done = repository.run("sign")
    assert (done.exit_code, done.code) == (3, "key_damaged")
    assert path.name in done.stderr


def test_a_key_of_other_tools_is_taken(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "from-openssl.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    keyid = CryptoSigner(key).public_key.keyid
    folder = folder_of(tmp_path)
    assert keyid in folder
    signer = folder.get(keyid)
    assert signer is not None
    assert signer.sign(b"x").keyid == keyid


def test_public_keys_are_handed_on_and_private_ones_refused(tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ed25519()
    public, private = tmp_path / "bob.pub", tmp_path / "bob.pem"
    public.write_text(public_pem(signer.public_key))
    assert read_public_key(public) == signer.public_key
    private.write_bytes(signer.private_bytes)
    with pytest.raises(ConfigError, match="holds a private key"):
        read_public_key(private)
    for text in ("", "nonsense", public.read_text().replace("A", "!")):
        public.write_text(text)
        with pytest.raises(ConfigError):
            read_public_key(public)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "keys")
    signer = CryptoSigner.generate_ed25519()
    path = folder.store(signer, role="root", encrypt=False)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="cannot be written"):
        folder.store(signer, role="root", encrypt=False)
    assert path.read_bytes() == before


def test_a_key_of_another_role_is_not_added(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    [path] = repository.keys.glob("targets-*.pem")
    public = tmp_path / "targets.pub"
    public.write_bytes(path.read_bytes().partition(b"-----BEGIN PRIVATE")[0])
    for role in ("root", "targets"):
        done = repository.run("rotate", role, "--add", public)
        assert (done.exit_code, done.code) == (2, "usage")


def test_keys_lie_in_the_users_configuration_by_default(tmp_path: Path) -> None:
    def init(folder: str, **env: str) -> int:
        place = tmp_path / folder
        return edgeqa_models("repository", "init", place, "--no-passphrase", env=env).exit_code

    assert init("repo", XDG_CONFIG_HOME=str(tmp_path / "config")) == 0
    assert len(list((tmp_path / "config" / "edgeqa" / "keys").glob("*.pem"))) == 4
    assert init("other", XDG_CONFIG_HOME="", HOME=str(tmp_path / "home")) == 0
    assert (tmp_path / "home" / ".config" / "edgeqa" / "keys").is_dir()


def test_help_needs_no_cryptography() -> None:
    script = (
        "import sys; from edgeqa_models import cli_repository;"
        "print({'tuf', 'cryptography', 'securesystemslib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
