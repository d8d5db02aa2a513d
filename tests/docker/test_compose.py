"""The Compose files against the schema of their specification, our settings and our promises."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from support.compose import Composition, Service, example_variables
from support.images import DOCKER

from edgeqa.client_settings import ClientSettings
from edgeqa.settings import load_settings
from edgeqa_agent.settings import AgentSettings
from edgeqa_cloud.api_settings import ApiSettings
from edgeqa_cloud.settings import CloudSettings

FILES = ("compose.yaml", "compose.device.yaml")
WHOLE = Composition(DOCKER / "compose.yaml")
DEVICE = Composition(DOCKER / "compose.device.yaml")
# Read by Compose itself.
_COMPOSES_OWN = {"COMPOSE_PROFILES"}
# TLS with certificates of both sides.
_SECURE_PORTS = {8883, 8884}
_ONCE = {"prepare", "init"}
# Processes of others, as which one runs through.
_ROOT = {"prepare", "postgresql"}


def all_services() -> Iterator[tuple[Composition, Service]]:
    for composition in (WHOLE, DEVICE):
        for service in composition.services.values():
            yield composition, service


def validator() -> jsonschema_rs.Validator:
    """The schema that the package check-jsonschema carries."""
    folder = files("check_jsonschema.builtin_schemas.vendor")
    schema = json.loads(folder.joinpath("compose-spec.json").read_text(encoding="utf-8"))
    return jsonschema_rs.validator_for(schema)


@pytest.mark.parametrize("name", FILES)
def test_a_file_fits_the_specification(name: str) -> None:
    content = yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))
    errors = [
        f"{error.instance_path}: {error.message}" for error in validator().iter_errors(content)
    ]
    assert not errors


def test_a_mistake_would_be_noticed() -> None:
    content = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    content["services"]["agent"]["restarts"] = "always"
    assert not validator().is_valid(content)


def test_every_container_is_confined() -> None:
    for _, service in all_services():
        spec = service.spec
        assert spec["read_only"] is True, service.name
        assert spec["cap_drop"] == ["ALL"], service.name
        assert spec["security_opt"] == ["no-new-privileges:true"], service.name
        assert spec["mem_limit"], service.name
        assert spec["logging"]["options"]["max-size"], service.name
        assert not spec.get("privileged")
        assert ("cap_add" in spec) == (service.name in _ROOT), service.name
        assert (spec.get("user") == "0:0") <= (service.name in _ROOT), service.name


def test_what_runs_for_long_is_restarted_and_asked_after_its_health() -> None:
    for _, service in all_services():
        if service.name in _ONCE:
            assert service.spec["restart"] == "no"
            assert service.spec["healthcheck"] == {"disable": True}
            continue
        assert service.spec["restart"] == "unless-stopped", service.name
        assert service.spec["healthcheck"]["test"][0] == "CMD", service.name
        # Where `edgeqa` cannot succeed it holds: nobody restarts it in a loop.
        assert service.role is None or service.environment["EDGEQA_HOLD"] == "1"


def test_no_engine_has_to_know_an_order() -> None:
    for _, service in all_services():
        assert "depends_on" not in service.spec


def test_only_tls_is_reached_from_other_machines() -> None:
    for _, service in all_services():
        for address, port in service.ports:
            assert (address == "127.0.0.1") == (port not in _SECURE_PORTS), (service.name, port)


@pytest.mark.parametrize("service", [s for _, s in all_services() if s.role], ids=lambda s: s.name)
def test_settings_are_known_to_their_role(service: Service) -> None:
    """Compose and the image together; an unknown variable is refused."""
    environment = {k: v for k, v in service.environment.items() if k != "EDGEQA_AGENT_CONFIG"}
    load_settings(AgentSettings if service.role == "agent" else CloudSettings, environ=environment)
    load_settings(ApiSettings, environ=environment)
    load_settings(ClientSettings, environ=environment)
    roles = ("EDGEQA_AGENT_", "EDGEQA_CLOUD_", "EDGEQA_API_", "EDGEQA_CLIENT_")
    known = (*roles, "EDGEQA_INIT_", "EDGEQA_HOLD")
    assert all(variable.startswith(known) for variable in environment)


def test_the_variables_of_init_are_those_it_reads() -> None:
    said = {v for v in WHOLE.services["init"].environment if v.startswith("EDGEQA_INIT_")}
    script = (DOCKER / "init.sh").read_text(encoding="utf-8")
    assert said == {word for word in said if f"${{{word}" in script}
    assert script.count("EDGEQA_INIT_") >= len(said)


def test_files_that_settings_name_can_be_there() -> None:
    """Every path lies on a volume, a folder of the host, a tmpfs or is a secret."""
    for composition, service in all_services():
        places = [mount.target for mount in service.mounts] + service.tmpfs
        places += [f"/run/secrets/{name}" for name in service.spec.get("secrets", [])]
        assert set(service.spec.get("secrets", [])) <= set(composition.secrets)
        for variable, value in service.environment.items():
            # Of the image, and of long runs only.
            if service.name in _ONCE and variable == "EDGEQA_CLOUD_HEALTH_FILE":
                continue
            if variable == "EDGEQA_CLOUD_BROKER_DATA":  # as the broker calls it
                assert value in {mount.target for mount in WHOLE.services["broker"].mounts}
            elif value.startswith("/") and service.role:
                assert any(Path(value).is_relative_to(place) for place in places), variable


def test_what_is_written_lies_where_it_can_be() -> None:
    for _, service in all_services():
        writable = [mount.target for mount in service.mounts if not mount.read_only]
        assert service.name in _ONCE or writable, service.name
        for variable in ("EDGEQA_AGENT_STATE_DIR", "EDGEQA_CLOUD_TOKEN_FILE"):
            if variable in service.environment:
                path = Path(service.environment[variable])
                assert any(path.is_relative_to(place) for place in writable)


def test_what_is_mounted_from_the_host_is_in_the_repository() -> None:
    for composition, service in all_services():
        for mount in service.mounts:
            if mount.named:
                assert mount.source in composition.content["volumes"]
            elif mount.source != "./bundle":  # the operator's
                assert (DOCKER / mount.source).exists(), mount.source
                assert mount.read_only
    used = {m.source for _, s in all_services() for m in s.mounts if m.named}
    assert used == {*WHOLE.content["volumes"], *DEVICE.content["volumes"]}


def test_every_volume_is_prepared_for_its_user() -> None:
    prepare = WHOLE.services["prepare"]
    prepared = {mount.source for mount in prepare.mounts}
    assert {mount.target for mount in prepare.mounts} == {
        word for word in prepare.command if word.startswith("/volumes/")
    }
    ours = {"init", "broker", "cloud", "agent"}
    used = {m.source for n in ours for m in WHOLE.services[n].mounts if m.named}
    assert prepared == used


def test_the_broker_has_no_key_of_an_authority_and_the_agent_nothing_of_the_broker() -> None:
    def volumes(name: str) -> set[str]:
        return {mount.source for mount in WHOLE.services[name].mounts if mount.named}

    assert volumes("broker") == {"broker-files", "broker-data"}
    assert volumes("agent") == {"agent-identity", "agent-data"}
    assert "agent-identity" not in volumes("cloud")
    assert "secrets" not in WHOLE.services["agent"].spec
    assert "secrets" not in WHOLE.services["broker"].spec


def test_env_example_explains_every_variable_with_its_default() -> None:
    used = {**WHOLE.used, **DEVICE.used}
    explained = dict(example_variables())
    assert set(explained) - _COMPOSES_OWN == set(used)
    for name, default in used.items():
        # With both or neither of them: what is shown is what to set.
        if name != "EDGEQA_REPOSITORY_ROOT":
            assert explained[name] == (default or ""), name


def test_the_two_files_agree_on_the_agent() -> None:
    one, other = WHOLE.services["agent"], DEVICE.services["agent"]
    same = ("restart", "read_only", "cap_drop", "security_opt", "mem_limit", "logging", "tmpfs",
            "environment", "healthcheck", "stop_grace_period")  # fmt: skip
    for key in same:
        assert one.spec[key] == other.spec[key], key
    assert other.spec["platform"] == "linux/arm64"


def test_secrets_are_made_once_and_only_for_their_owner(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((DOCKER / "make-secrets.sh").read_bytes())

    def make() -> str:
        done = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=True)
        return done.stdout

    assert make().count(" made") == 3
    secrets = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(secrets) == {path.name for path in WHOLE.secrets.values()}
    assert all(len(secret) >= 42 and secret.isalnum() for secret in secrets.values())
    assert len(set(secrets.values())) == 3
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert make().count("is there already") == 3
    assert secrets == {p.name: p.read_text() for p in (tmp_path / "secrets").iterdir()}


def test_secrets_and_settings_of_an_installation_are_not_committed() -> None:
    for name in ("secrets/authority-passphrase", ".env", "bundle/identity.key"):
        done = subprocess.run(
            ["git", "check-ignore", "--quiet", f"docker/{name}"],
            cwd=DOCKER.parent, env={"PATH": os.environ["PATH"]}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, name
