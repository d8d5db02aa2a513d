"""The parts list of an image: taken out, validated, and compared with what is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from image_test.builds import Image
from image_test.shell import ImageTestError

INSIDE = Path("usr/share/edgeqa/sbom.cdx.json")
_SITE = Path("opt/edgeqa/lib/python3.11/site-packages")


def checked_parts(image: Image, output: Path) -> int:
    """Put the image's list beside it; how many parts it has.

    Raises:
        ImageTestError: it is no valid CycloneDX, or not a list of what is in the image.
    """
    shutil.copyfile(image.root / INSIDE, output)
    text = output.read_text(encoding="utf-8")
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise ImageTestError(f"{output}: {error}")
    components = json.loads(text)["components"]
    listed = {kind: sum(c["bom-ref"].startswith(kind) for c in components)
              for kind in ("pkg:pypi/", "pkg:deb/", "model:")}  # fmt: skip
    status = (image.root / "var/lib/dpkg/status").read_text(encoding="utf-8")
    there = {
        "pkg:pypi/": len(list((image.root / _SITE).glob("*.dist-info"))),
        "pkg:deb/": status.count("\nStatus: install ok installed\n"),
        "model:": len(list((image.root / _SITE).glob("*/packages/*/manifest.json"))),
    }
    if listed != there:
        raise ImageTestError(f"{output} lists {listed}; the image has {there}")
    return len(components)
