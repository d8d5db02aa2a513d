"""How a model package lies in a TUF repository: what the workshop publishes and devices look up.

Each file of a package is one target, `NAME/VERSION/FILE`. The manifest's target carries a summary
as its `custom` metadata, signed with everything else, so that a device can refuse a package before
it fetches any of it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from edgeqa.manifest import MANIFEST_FILE, Package
from edgeqa.messages import Name


class PackageSummary(BaseModel):
    """What the signed metadata say of a package."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_version: int = Field(alias="schema", description="Of the manifest.")
    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    architecture: str
    precision: str
    bytes: int = Field(gt=0, description="Of all its files, the manifest included.")

    def as_custom(self) -> dict[str, Any]:
        """The `custom` metadata of the manifest's target."""
        return self.model_dump(by_alias=True)


def target_path(name: str, version: str, file: str = MANIFEST_FILE) -> str:
    """The target of one file of a package; without `file`, the target that stands for all of it."""
    return f"{name}/{version}/{file}"


def summarise(package: Package) -> PackageSummary:
    """What a repository says of a package.

    Raises:
        OSError: its manifest is gone.
    """
    manifest = package.manifest
    files = sum(entry.bytes for entry in manifest.files.values())
    return PackageSummary(
        schema_version=manifest.schema_version,
        name=manifest.name,
        version=manifest.version,
        digest=package.digest,
        architecture=manifest.architecture.type,
        precision=manifest.precision,
        bytes=files + package.file(MANIFEST_FILE).stat().st_size,
    )
