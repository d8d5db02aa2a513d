"""What is signed of a package, and its manifest: whether they fit each other and this version.

What does not fit is refused before any more of the package is fetched.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import ValidationError

from edgeqa.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, Architecture, Manifest, Precision
from edgeqa.repository.catalogue import Catalogue, Listed
from edgeqa.repository.fetching import FetchError, RemoteFile
from edgeqa.targets import PackageSummary, target_path

_SCHEMAS = get_args(Manifest.model_fields["schema_version"].annotation)
_ARCHITECTURES = get_args(Architecture.model_fields["type"].annotation)
_PRECISIONS = get_args(Precision)


def signed_summary(listed: Listed, *, name: str, version: str) -> PackageSummary:
    """What the list says of a package where it lists the package's manifest.

    Raises:
        FetchError: `package_unsupported`, it is of a later version; `metadata_refused`, it says
            nothing valid, or something of another package.
    """
    shown = f"{name} {version}"
    custom: Any = listed.custom
    schema = custom.get("schema") if isinstance(custom, dict) else None
    if isinstance(schema, int) and schema > max(_SCHEMAS):
        raise FetchError(
            f"{shown} is of schema {schema}, newer than this version of edgeqa",
            code="package_unsupported",
        )
    try:
        summary = PackageSummary.model_validate(custom)
    except ValidationError as error:
        raise FetchError(
            f"{shown} is listed without a valid summary: {_first(error)}", code="metadata_refused"
        ) from error
    said = (summary.name, summary.version, summary.digest)
    if said != (name, version, f"sha256:{listed.sha256}"):
        raise FetchError(f"the summary of {shown} is of another package", code="metadata_refused")
    return summary


def check_supported(summary: PackageSummary) -> None:
    """See that this version can serve such a package.

    Raises:
        FetchError: `package_unsupported`.
    """
    for what, value, known in (
        ("schema", summary.schema_version, _SCHEMAS),
        ("architecture", summary.architecture, _ARCHITECTURES),
        ("precision", summary.precision, _PRECISIONS),
    ):
        if value not in known:
            raise FetchError(
                f"{summary.name} {summary.version} has {what} {str(value)[:40]!r}; this version of "
                f"edgeqa serves {', '.join(map(str, known))}",
                code="package_unsupported",
            )


def signed_manifest(raw: bytes, summary: PackageSummary) -> Manifest:
    """The manifest, whose bytes are those that were signed.

    Raises:
        FetchError: `package_malformed`, it is none; `wrong_digest`, it describes another package.
    """
    name = f"{summary.name} {summary.version}"
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise FetchError(
            f"{MANIFEST_FILE} of {name}: {_first(error)}", code="package_malformed"
        ) from error
    of_manifest = (
        manifest.name,
        manifest.version,
        manifest.architecture.type,
        manifest.precision,
    )
    if of_manifest != (summary.name, summary.version, summary.architecture, summary.precision):
        raise FetchError(
            f"{MANIFEST_FILE} of {name} describes another package", code="wrong_digest"
        )
    return manifest


def signed_files(
    catalogue: Catalogue, manifest: Manifest, summary: PackageSummary, first: RemoteFile
) -> list[RemoteFile]:
    """What the manifest names, each of which must be signed by itself too.

    Args:
        first: the manifest itself.

    Raises:
        FetchError: `metadata_refused`.
    """
    files = []
    for name, entry in manifest.files.items():
        path = target_path(summary.name, summary.version, name)
        listed = catalogue.find(path)
        if listed is None or (listed.bytes, listed.sha256) != (entry.bytes, entry.sha256):
            raise FetchError(
                f"{path}: the repository signed no such file as the manifest names",
                code="metadata_refused",
            )
        files.append(remote_file(name, listed))
    if first.bytes + sum(file.bytes for file in files) != summary.bytes:
        raise FetchError(
            f"the summary of {summary.name} {summary.version} states another size than its files "
            "have",
            code="metadata_refused",
        )
    return files


def remote_file(name: str, listed: Listed) -> RemoteFile:
    """A file of a package, where it lies at the repository.

    Raises:
        FetchError: `package_malformed`, a manifest that is too large to be one.
    """
    if name == MANIFEST_FILE and listed.bytes > MAX_MANIFEST_BYTES:
        raise FetchError(
            f"{listed.path}: larger than {MAX_MANIFEST_BYTES} bytes", code="package_malformed"
        )
    return RemoteFile(listed.path, name, listed.bytes, listed.sha256)


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in a line."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "content"
    return " ".join(f"{where[:200]}: {first['msg']}".split())
