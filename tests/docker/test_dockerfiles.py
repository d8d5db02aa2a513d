"""What holds of the images without building them: the Dockerfiles, what enters a build, the parts
list, and what is taken out. `make image-test` builds and runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

TOP = Path(__file__).parents[2]
BUILD = TOP / "docker" / "build"
SITE = Path(sys.prefix) / f"lib/python3.{sys.version_info.minor}/site-packages"
ROLES = ("agent", "cloud")


@dataclass(frozen=True)
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    steps: list[tuple[str, str]]

    def of(self, instruction: str) -> list[str]:
        return [words for what, words in self.steps if what == instruction]

    def one(self, instruction: str) -> str:
        (words,) = self.of(instruction)
        return words

    @property
    def environment(self) -> dict[str, str]:
        pairs = [pair for words in self.of("ENV") for pair in words.split()]
        return dict(pair.partition("=")[::2] for pair in pairs)


def stages(role: str) -> list[Stage]:
    """The Dockerfile, continued lines joined and comments left out."""
    text = (TOP / "docker" / f"{role}.Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [Stage("", "", [])]
    for line in filter(None, map(str.strip, joined.splitlines())):
        instruction, _, words = line.partition(" ")
        if instruction == "FROM":
            base, _, name = words.partition(" AS ")
            found.append(Stage(base, name, []))
        else:
            found[-1].steps.append((instruction, words.strip()))
    return found


def module(name: str) -> ModuleType:
    """One of docker/build, which stand on their own."""
    sys.path.insert(0, str(BUILD))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(BUILD))


@pytest.mark.parametrize("role", ROLES)
def test_the_base_is_a_dated_tag_that_a_build_may_replace(role: str) -> None:
    head, base, *_ = stages(role)
    tag = head.one("ARG").partition("=")[2]
    assert re.fullmatch(r"docker\.io/library/debian:bookworm-\d{8}-slim", tag)
    assert base.base == "${BASE}"
    assert base.name == "base"


@pytest.mark.parametrize("role", ROLES)
def test_the_last_stage_holds_no_tools_and_runs_nothing(role: str) -> None:
    last = stages(role)[-1]
    assert last.base == "base"
    assert last.of("RUN") == []
    assert all(words.startswith("--from=build ") for words in last.of("COPY"))
    # What the base installs, then, is all there is of Debian.
    (run,) = stages(role)[1].of("RUN")
    (installed,) = re.findall(r"apt-get install --yes --no-install-recommends ([\w .-]+?) &&", run)
    assert installed.split() == ["ca-certificates", "python3"]
    assert "rm -rf /var/lib/apt/lists/*" in run


@pytest.mark.parametrize("role", ROLES)
def test_the_user_has_a_fixed_number_and_owns_the_data_folder(role: str) -> None:
    base, last = stages(role)[1], stages(role)[-1]
    assert last.one("USER") == "10001:10001"
    (run,) = base.of("RUN")
    assert "groupadd --gid 10001 edgeqa" in run
    assert "useradd --uid 10001 --gid 10001" in run
    assert "--owner edgeqa --group edgeqa /var/lib/edgeqa /run/edgeqa" in run
    # A declared volume would be made anew, empty, for a container that lacks its own.
    assert last.of("VOLUME") == []


@pytest.mark.parametrize("role", ROLES)
def test_a_supervisor_learns_how_to_stop_it_and_how_it_is(role: str) -> None:
    last = stages(role)[-1]
    assert last.one("STOPSIGNAL") == "SIGTERM"
    _, _, command = last.one("HEALTHCHECK").partition("CMD ")
    assert json.loads(command) == ["edgeqa", role, "health"]
    started = json.loads(last.one("ENTRYPOINT")) + json.loads("".join(last.of("CMD")) or "[]")
    assert started == ["edgeqa", role, "run"]
    prefix = f"EDGEQA_{role.upper()}"
    assert last.environment["EDGEQA_HOLD"] == "1"
    assert last.environment[f"{prefix}_HEALTH_FILE"] == "/run/edgeqa/health.json"
    assert last.environment[f"{prefix}_LOG_FORMAT"] == "json"


def test_the_agent_finds_its_bundle_and_its_data_and_reports_to_nobody() -> None:
    environment = stages("agent")[-1].environment
    assert environment["EDGEQA_AGENT_CONFIG"] == "/etc/edgeqa/agent.toml"
    assert environment["EDGEQA_AGENT_STATE_DIR"] == "/var/lib/edgeqa"
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("role", ROLES)
def test_labels_say_what_it_is(role: str) -> None:
    last = stages(role)[-1]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last.one("LABEL")))
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert labels["title"] == f"edgeqa/{role}"
    assert labels["licenses"] == project["license"]
    assert (labels["version"], labels["revision"], labels["created"]) == (
        "${VERSION}", "${REVISION}", "${CREATED}",
    )  # fmt: skip
    names = [words.partition("=")[0] for words in last.of("ARG")]
    assert names == ["VERSION", "REVISION", "CREATED"]


@pytest.mark.parametrize("role", ROLES)
def test_what_others_wrote_comes_as_locked_wheels(role: str) -> None:
    runs = [words for stage in stages(role) for words in stage.of("RUN")]
    installs = [part for words in runs for part in words.split("&&") if "pip" in part.split()[0]
                or "/pip " in part]  # fmt: skip
    installs = [part for part in installs if " install " in part or " wheel " in part]
    assert len(installs) == 4
    for part in installs:
        assert "--only-binary :all:" in part or "--no-index" in part
    assert sum("--constraint constraints.txt" in part for part in installs) == 1
    locked = (TOP / "constraints.txt").read_text().splitlines()
    for line in (BUILD / "requirements.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[\w-]+==[\w.]+", line)
        name = line.partition("==")[0]
        assert line in locked or not any(one.startswith(f"{name}==") for one in locked)


@pytest.mark.parametrize("role", ROLES)
def test_every_copied_path_is_there_and_enters_the_build(role: str) -> None:
    copied = [words.split()[:-1] for stage in stages(role) for words in stage.of("COPY")
              if "--from" not in words]  # fmt: skip
    paths = [path for words in copied for path in words]
    assert len(paths) > 8
    for path in paths:
        assert (TOP / path).exists()
        inside = [one.relative_to(TOP) for one in (TOP / path).rglob("*")] or [Path(path)]
        assert any(enters(one) for one in inside), path


def enters(path: Path | str) -> bool:
    """Whether .dockerignore lets a file into a build: the last line that matches decides.

    Source: Docker's documentation, "Build context", .dockerignore files.
    """
    let_in = True
    for line in (TOP / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        tried = [PurePosixPath(path), *PurePosixPath(path).parents][:-1]  # all but "."
        regex = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(regex, str(one)) for one in tried):
            let_in = line.startswith("!")
    return let_in


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".git/config", ".venv/bin/python", "docker/.env", "docker/secrets/passphrase",
        "docker/bundle/identity.key", "authority/device/ca.key", "identity.key", "keys/root.pem",
        "cloud.db", "common/edgeqa/server.key", "agent/edgeqa_agent/.env", "models/keys/root",
        "cloud/edgeqa_cloud/state.sqlite", "docker/build/ca.pem", "tests/conftest.py",
        "common/edgeqa/__pycache__/cli.cpython-311.pyc", "runs/checkpoint/model.bin",
    ],
)  # fmt: skip
def test_nothing_secret_and_nothing_else_enters_a_build(path: str) -> None:
    assert not enters(path)


def test_every_file_of_a_package_enters_a_build() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*/edgeqa", ":(glob)*/edgeqa_*/**", "models/packages"],
        cwd=TOP, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(listed) > 300
    assert [path for path in listed if not enters(path)] == []


@pytest.mark.parametrize("role", ROLES)
def test_what_is_taken_out_is_there_to_be_taken_out(role: str) -> None:
    unserved = module("unserved")
    installed = {re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower()
                 for path in SITE.glob("*.dist-info")}  # fmt: skip
    assert set(unserved.DISTRIBUTIONS[role]) <= installed
    missing = [pattern for pattern in unserved.FILES[role] if not any(SITE.glob(pattern))]
    assert missing == []
    sources = {path.name for path in TOP.glob("*/edgeqa_*")}
    assert set(unserved.OURS[role]) <= sources


def test_a_table_that_fits_no_longer_stops_the_build(tmp_path: Path) -> None:
    slim = module("slim")
    (tmp_path / "library" / "tests").mkdir(parents=True)
    (tmp_path / "library" / "tests" / "test_it.py").touch()
    slim.drop_files(tmp_path, {"**/tests": "tests"})
    assert list((tmp_path / "library").iterdir()) == []
    with pytest.raises(slim.SlimError, match=r"\*\*/tests matches nothing"):
        slim.drop_files(tmp_path, {"**/tests": "tests"})
    with pytest.raises(slim.SlimError, match="tqdm is not installed"):
        slim.drop_distributions(tmp_path, {"tqdm": "a bar"})


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_its_own_requirements(role: str) -> None:
    done = subprocess.run(
        [sys.executable, BUILD / "extra.py", TOP / "pyproject.toml", role],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {re.split(r"[<>=\[]", line)[0] for line in done.stdout.splitlines()}
    assert {"paho-mqtt", "pydantic", "tuf"} <= names
    assert ("onnxruntime" in names) == (role == "agent")
    assert ("sqlalchemy" in names) == (role == "cloud")
    assert not names & {"torch", "transformers", "pytest"}


def test_the_parts_list_is_valid_and_lists_what_is_installed(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: arm64\n"
        "Description: compression\n library\nVersion: 1:1.2.13.dfsg-1\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    )
    command = [sys.executable, BUILD / "sbom.py", "--name", "edgeqa/agent", "--version", "9.8.7",
               "--dpkg", status, SITE]  # fmt: skip
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None

    bom = json.loads(text)
    assert bom["metadata"]["component"]["version"] == "9.8.7"
    refs = {component["bom-ref"]: component for component in bom["components"]}
    assert "pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1?arch=arm64" in refs
    assert not any("gone" in ref for ref in refs)
    locked = (TOP / "constraints.txt").read_text()
    (version,) = re.findall(r"^onnxruntime==(\S+)", locked, re.MULTILINE)
    edges = {edge["ref"]: edge["dependsOn"] for edge in bom["dependencies"]}
    assert any(
        ref.startswith("pkg:pypi/numpy@") for ref in edges[f"pkg:pypi/onnxruntime@{version}"]
    )
    assert refs[f"pkg:pypi/onnxruntime@{version}"]["licenses"]

    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(again)["serialNumber"] == bom["serialNumber"]


def test_embedded_models_are_parts_with_their_digests(tmp_path: Path) -> None:
    (tmp_path / "edgeqa_agent").mkdir()
    (tmp_path / "edgeqa_agent" / "packages").symlink_to(TOP / "models" / "packages")
    bom = module("sbom").parts_list("edgeqa/agent", "1", [tmp_path], None)
    models = {c["name"]: c for c in bom["components"] if c["type"] == "machine-learning-model"}
    assert set(models) == {"minilm-l6-squad", "minilm-l3-distil-squad"}
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None
    for component in models.values():
        package = TOP / "models/packages" / f"{component['name']}-{component['version']}"
        manifest = json.loads((package / "manifest.json").read_bytes())
        assert component["hashes"][0]["content"] == manifest["files"]["model.onnx"]["sha256"]
