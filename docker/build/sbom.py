"""The parts list of an image: CycloneDX 1.6, JSON, on standard output.

    python3 sbom.py --name edgeqa/agent --version 1.2.3 --dpkg /var/lib/dpkg/status SITE-PACKAGES…

In it: each Python distribution by the metadata that it was installed with, each Debian package by
dpkg's, and each model package by its manifest. Read from what is there, not from what was asked
for: what `slim.py` took out is not listed. Equal images have equal lists, but for the time.

Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/; package-url/purl-spec.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")


def main() -> int:
    """Print the list."""
    parser = argparse.ArgumentParser(description="The parts list of an image, CycloneDX 1.6.")
    parser.add_argument("site", nargs="+", type=Path, help="Folders of Python packages.")
    parser.add_argument("--name", required=True, help="Of the image.")
    parser.add_argument("--version", required=True, help="Of the image.")
    parser.add_argument("--dpkg", type=Path, help="dpkg's status file.")
    arguments = parser.parse_args()
    bom = parts_list(arguments.name, arguments.version, arguments.site, arguments.dpkg)
    json.dump(bom, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


def parts_list(name: str, version: str, sites: list[Path], dpkg: Path | None) -> dict[str, Any]:
    """The whole document.

    Args:
        name: of the image.
        version: of the image.
        sites: folders that Python imports from.
        dpkg: its status file, if Debian packages are part of it.

    Raises:
        OSError: a file is not there.
    """
    found = list(distributions(path=[str(site) for site in sites]))
    components = [
        *(_python(one) for one in found),
        *(_debian(fields) for fields in _stanzas(dpkg) if _installed(fields)),
        *(_model(path) for site in sites for path in site.glob("*/packages/*/manifest.json")),
    ]
    components.sort(key=lambda component: component["bom-ref"])
    root = f"image:{name}@{version}"
    # Of the contents: the same parts have the same number.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([root, components], sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": _now().isoformat(),
            "component": {"type": "container", "bom-ref": root, "name": name, "version": version},
        },
        "components": components,
        "dependencies": _dependencies(root, found, components),
    }


def _now() -> datetime:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    return now.replace(microsecond=0)


def _python(distribution: Distribution) -> Component:
    metadata = distribution.metadata
    component: Component = {
        "type": "library",
        "bom-ref": _python_ref(distribution),
        "name": metadata["Name"],
        "version": distribution.version,
        "purl": _python_ref(distribution),
    }
    licence = "".join(metadata.get_all("License") or [])
    if "License-Expression" in metadata:
        component["licenses"] = [{"expression": metadata["License-Expression"]}]
    elif named := _licences_named(licence, metadata.get_all("Classifier") or []):
        component["licenses"] = [{"license": {"name": name}} for name in named]
    return component


def _licences_named(licence: str, classifiers: list[str]) -> list[str]:
    """From before License-Expression: classifiers, or the first line of what was said."""
    prefix = "License :: "
    found = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith(prefix)]
    return found or licence.strip().splitlines()[:1]


def _python_ref(distribution: Distribution) -> str:
    return f"pkg:pypi/{_normal(distribution.metadata['Name'])}@{quote(distribution.version)}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _stanzas(status: Path | None) -> Iterator[dict[str, str]]:
    """Stanzas of a control file, without what goes on over several lines."""
    text = "" if status is None else status.read_text(encoding="utf-8")
    for stanza in text.split("\n\n"):
        lines = [line for line in stanza.splitlines() if line and not line[0].isspace()]
        if lines:
            yield {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _installed(fields: dict[str, str]) -> bool:
    return fields.get("Status", "").endswith(" installed")


def _debian(fields: dict[str, str]) -> Component:
    name, version = fields["Package"], fields["Version"]
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={fields['Architecture']}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "supplier": {"name": "Debian"},
    }


def _model(manifest_file: Path) -> Component:
    manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    name, version = manifest["name"], manifest["version"]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}@{version}",
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": manifest["files"]["model.onnx"]["sha256"]}],
        "licenses": [{"expression": manifest["licence"]}],
    }


def _dependencies(
    root: str, found: list[Distribution], components: list[Component]
) -> list[dict[str, Any]]:
    """What of Python needs what of it; the image needs everything."""
    refs = {_normal(one.metadata["Name"]): _python_ref(one) for one in found}
    edges = [{"ref": root, "dependsOn": [component["bom-ref"] for component in components]}]
    for one in sorted(found, key=_python_ref):
        # What is only for an extra has a marker that names it.
        lines = [line for line in one.requires or [] if "extra ==" not in line]
        names = [match[0] for line in lines if (match := _REQUIREMENT.match(line))]
        needed = sorted({refs[_normal(name)] for name in names if _normal(name) in refs})
        edges.append({"ref": _python_ref(one), "dependsOn": needed})
    return edges


if __name__ == "__main__":
    sys.exit(main())
