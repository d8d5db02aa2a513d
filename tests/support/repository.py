"""Published repositories with tiny packages, a web server for them, and a device that fetches.

Packages here have every file and a true manifest, but no model that loads; `make_package` takes
the bytes of a real one where a test needs it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import typer
from tuf.ngclient import Updater
from typer.testing import CliRunner

from edgeqa.errors import EdgeqaError
from edgeqa.manifest import Package, open_package
from edgeqa.targets import target_path
from edgeqa_models import cli_repository


@dataclass(frozen=True)
class Ran:
    """How a command ended; what `main` would make of its error."""

    exit_code: int
    stdout: str
    stderr: str
    code: str | None = None


def edgeqa_models(*arguments: object, env: Mapping[str, str] | None = None) -> Ran:
    """Run `edgeqa models …` in this process; only the repository's commands."""
    app = typer.Typer()
    cli_repository.register(app)
    clean = {"EDGEQA_MODELS_PASSPHRASE": None, "EDGEQA_MODELS_PASSPHRASE_FILE": None,
             "EDGEQA_MODELS_KEYS": None, "SOURCE_DATE_EPOCH": None}  # fmt: skip
    result = CliRunner(env={**clean, **(env or {})}).invoke(app, [str(one) for one in arguments])
    error = result.exception
    if isinstance(error, EdgeqaError):
        assert "\n" not in str(error)
        return Ran(error.exit_code, result.stdout, str(error), error.code)
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Ran(result.exit_code, result.stdout, result.stderr)


def make_package(
    folder: Path,
    name: str = "tiny",
    version: str = "1.0.0",
    *,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """`folder`/`name`-`version` with a true manifest; `files` replaces or adds some."""
    contents = {
        "model.onnx": f"weights of {name} {version}".encode() * 100,
        "tokenizer.json": b"{}",
        "checks.json": b"[]",
        **(files or {}),
    }
    path = folder / f"{name}-{version}"
    path.mkdir(parents=True)
    for file, content in contents.items():
        (path / file).write_bytes(content)
    manifest = {
        "schema": 1,
        "name": name,
        "version": version,
        "architecture": {"type": "bert", "layers": 1, "hidden": 8, "heads": 1, "vocabulary": 9,
                         "parameters": 10},
        "precision": "int8",
        "sizes": {"max_seq_len": 384, "doc_stride": 128, "max_question_tokens": 64,
                  "max_answer_tokens": 30},
        "files": {
            file: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for file, content in contents.items()
        },
        "licence": "Apache-2.0",
        "training": {"base": "b", "base_licence": "Apache-2.0", "data": [], "recipe": {}},
        "scores": [],
    }  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return path


@dataclass(frozen=True)
class Repository:
    """A repository and the folder of all its keys, which have no passphrase."""

    path: Path
    keys: Path

    @property
    def root(self) -> bytes:
        """What devices are given."""
        return (self.path / "metadata" / "1.root.json").read_bytes()

    def run(self, *arguments: object, env: Mapping[str, str] | None = None) -> Ran:
        """`repository COMMAND` or `publish` with its path as first argument and its keys."""
        command, *rest = arguments
        words = [command] if command == "publish" else ["repository", command]
        keys = [] if command in {"add", "remove"} else ["--keys", self.keys]
        return edgeqa_models(*words, self.path, *keys, *rest, env=env)

    def publish(self, *packages: Path) -> None:
        """Publish packages; must succeed."""
        done = self.run("publish", *packages)
        assert done.exit_code == 0, done.stderr

    def copy(self, folder: Path) -> Repository:
        """The same, somewhere else."""
        shutil.copytree(self.path, folder / "repo")
        shutil.copytree(self.keys, folder / "keys")
        return Repository(folder / "repo", folder / "keys")


def make_repository(folder: Path, *packages: Path, options: tuple[object, ...] = ()) -> Repository:
    """`folder`/repo with its keys in `folder`/keys and some packages published."""
    made = Repository(folder / "repo", folder / "keys")
    done = made.run("init", "--no-passphrase", *options)
    assert done.exit_code == 0, done.stderr
    if packages:
        made.publish(*packages)
    return made


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing it waits for all answers, so that no socket is left open


@contextmanager
def serve(folder: Path, *, port: int = 0) -> Iterator[str]:
    """A plain web server of a folder; gives its URL."""
    with _Server(("127.0.0.1", port), partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Device:
    """A TUF client that keeps what it trusts in a folder, as devices do."""

    folder: Path
    root: bytes
    seen: list[str] = field(default_factory=list)

    def updater(self, url: str) -> Updater:
        """A client for one update."""
        downloads = self.folder / "downloads"
        downloads.mkdir(parents=True, exist_ok=True)
        return Updater(
            str(self.folder / "trusted"),
            f"{url}/metadata/",
            str(downloads),
            f"{url}/targets/",
            bootstrap=self.root,
        )

    def refresh(self, url: str) -> None:
        """Fetch and verify all metadata."""
        self.updater(url).refresh()

    def offers(self, url: str, name: str = "tiny", version: str = "1.0.0") -> bool:
        """Whether it can have a package."""
        return self.updater(url).get_targetinfo(target_path(name, version)) is not None

    def fetch(self, url: str, name: str = "tiny", version: str = "1.0.0") -> Package:
        """Download a package by its name and version, and verify it again as a package."""
        updater = self.updater(url)
        info = updater.get_targetinfo(target_path(name, version))
        assert info is not None, f"{name} {version} is not offered"
        folder = self.folder / f"{name}-{version}"
        updater.download_target(info, str(folder / "manifest.json"))
        for file in json.loads((folder / "manifest.json").read_bytes())["files"]:
            info = updater.get_targetinfo(target_path(name, version, file))
            assert info is not None
            updater.download_target(info, str(folder / file))
        return open_package(folder)
