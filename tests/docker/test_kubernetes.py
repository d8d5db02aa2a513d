"""What kustomize makes of the Kubernetes manifests, against schema, standards and our settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from support.kubernetes import (
    FOLDER,
    OVERLAYS,
    ROOT,
    Manifest,
    containers_of,
    environment_of,
    named,
    of_kind,
    overlay,
    pod_of,
)

from edgeqa.settings import load_settings
from edgeqa.topics import is_name
from edgeqa_cloud.settings import CloudSettings

GUIDE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
# The oldest and the newest that kubernetes-validate carries, and what lies between.
VERSIONS = ("1.25", "1.31", "1.37")
_NEVER = ("hostNetwork", "hostPID", "hostIPC")
# Volumes that the standard `restricted` allows.
_ALLOWED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip


def everything() -> Iterator[tuple[tuple[Manifest, ...], Manifest, Manifest]]:
    """Manifests, pod and container of all overlays."""
    for name in OVERLAYS:
        for deployment in of_kind(overlay(name), "Deployment"):
            for container in containers_of(pod_of(deployment)):
                yield overlay(name), pod_of(deployment), container


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_fits_the_schema(name: str, version: str) -> None:
    for one in overlay(name):
        if one["kind"] == "PodMonitor":  # of the Prometheus Operator; checked below
            continue
        kubernetes_validate.validate(one, version, strict=True)


def test_a_mistake_would_be_noticed() -> None:
    broken = json.loads(json.dumps(named(overlay("small"), "Deployment", "edgeqa-collector")))
    broken["spec"]["template"]["spec"]["containers"][0]["liveness"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_pods_are_restricted_as_their_namespace_demands() -> None:
    """The Pod Security Standard `restricted`, and a root file system that cannot be written."""
    (namespace,) = of_kind(overlay("small"), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for _, pod, container in everything():
        assert not any(pod.get(field) for field in _NEVER)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= _ALLOWED_VOLUMES


def test_every_container_has_bounds_and_the_same_image() -> None:
    for _, _, container in everything():
        assert container["image"] == "registry.example.org/edgeqa/cloud:0.1.0"
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]


def test_what_a_pod_refers_to_is_made_or_explained() -> None:
    """ConfigMaps and the volume are here; Secrets are the operator's, so the guide makes them."""
    for manifests, pod, container in everything():
        for source in container["envFrom"]:
            assert named(manifests, "ConfigMap", source["configMapRef"]["name"])
        named(manifests, "ServiceAccount", pod["serviceAccountName"])
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert named(manifests, "PersistentVolumeClaim", claim)
            if "secret" in volume:
                assert f"create secret generic {volume['secret']['secretName']}" in GUIDE
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_files_that_settings_name_are_mounted() -> None:
    for manifests, pod, container in everything():
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        if "run" not in container["command"]:
            continue  # it is given settings that it does not use
        for variable, value in environment_of(manifests, container).items():
            if not value.startswith("/"):
                continue
            path = Path(value)
            (mount,) = [m for m in mounts if path.is_relative_to(m)]
            if mounts[mount] in secrets:
                assert f"--from-file={path.name}=" in GUIDE, variable


def test_keys_of_secrets_are_in_the_guide() -> None:
    for _, pod, _ in everything():
        for volume in pod["volumes"]:
            for item in volume.get("secret", {}).get("items", []):
                assert f"--from-file={item['key']}=" in GUIDE, item


def test_every_container_takes_these_settings() -> None:
    for manifests, _, container in everything():
        if "run" in container["command"]:
            settings = load_settings(CloudSettings, environ=environment_of(manifests, container))
            assert is_name(settings.name)
            assert settings.broker_username
            assert (settings.listen == "off") == (container["name"] == "collector")


def templates_met(manifests: tuple[Manifest, ...], selector: Manifest) -> list[Manifest]:
    """Pod templates that a selector meets; there must be one."""
    wanted = selector.get("matchLabels", {})
    chosen = selector.get("matchExpressions", [])
    templates = [one["spec"]["template"] for one in of_kind(manifests, "Deployment")]
    labels = [template["metadata"]["labels"] for template in templates]
    found = [
        template
        for template, label in zip(templates, labels, strict=True)
        if all(label.get(key) == value for key, value in wanted.items())
        and all(label.get(one["key"]) in one["values"] for one in chosen)
    ]
    assert found, selector
    return found


def ports_of(template: Manifest) -> set[str]:
    return {p["name"] for c in template["spec"]["containers"] for p in c.get("ports", [])}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_service_the_budget_and_the_probes_meet_a_pod(name: str) -> None:
    manifests = overlay(name)
    (service,) = of_kind(manifests, "Service")
    (template,) = templates_met(manifests, {"matchLabels": service["spec"]["selector"]})
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports_of(template)
    (budget,) = of_kind(manifests, "PodDisruptionBudget")
    assert templates_met(manifests, budget["spec"]["selector"])
    for deployment in of_kind(manifests, "Deployment"):
        (template,) = templates_met(manifests, deployment["spec"]["selector"])
        (container,) = template["spec"]["containers"]
        probes = [container[key]["httpGet"] for key in container if key.endswith("Probe")]
        assert {probe["port"] for probe in probes} <= ports_of(template)
        assert {"startupProbe", "livenessProbe"} <= set(container)


@pytest.mark.parametrize("name", OVERLAYS)
def test_network_policies_let_in_to_ports_that_are_there(name: str) -> None:
    closed = 0
    for policy in of_kind(overlay(name), "NetworkPolicy"):
        for template in templates_met(overlay(name), policy["spec"]["podSelector"]):
            for rule in policy["spec"].get("ingress", []):
                assert {port["port"] for port in rule["ports"]} <= ports_of(template)
                assert rule["from"]
        closed += policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert closed == 1  # what is not let in or out is refused


def test_the_ingress_leads_to_the_console_at_its_public_url() -> None:
    manifests = overlay("large")
    (ingress,) = of_kind(manifests, "Ingress")
    (rule,) = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = named(manifests, "Service", backend["name"])
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    (container,) = pod_of(named(manifests, "Deployment", "edgeqa-console"))["containers"]
    settings = environment_of(manifests, container)
    assert settings["EDGEQA_CLOUD_PUBLIC_URL"] == f"https://{rule['host']}"


def test_scraped_jobs_are_called_as_alerts_and_dashboards_call_them() -> None:
    config = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())
    wanted = {job["job_name"]: job["metrics_path"] for job in config["scrape_configs"]}
    found = {}
    for one in of_kind(overlay("large"), "PodMonitor"):
        (endpoint,) = one["spec"]["podMetricsEndpoints"]
        assert one["apiVersion"] == "monitoring.coreos.com/v1"
        for template in templates_met(overlay("large"), one["spec"]["selector"]):
            assert endpoint["port"] in ports_of(template)
        (label,) = endpoint["relabelings"]
        assert label["targetLabel"] == "job"
        found[label["replacement"]] = endpoint["path"]
    assert found == wanted


def test_every_file_is_part_of_something_and_every_component_is_used() -> None:
    used = set()
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        content = yaml.safe_load(kustomization.read_text(encoding="utf-8"))
        parts = [*content.get("resources", []), *content.get("components", [])]
        parts += [patch["path"] for patch in content.get("patches", [])]
        used |= {(kustomization.parent / part).resolve() for part in parts}
    for path in FOLDER.rglob("*.yaml"):
        if path.name == "kustomization.yaml":
            assert path.parent in used or path.parent.parent.name == "overlays", path
        else:
            assert path in used, path
