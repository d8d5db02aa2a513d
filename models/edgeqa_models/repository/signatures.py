"""Signatures on metadata: making them, and what the root demands. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Protocol

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from edgeqa.errors import VerificationError
from edgeqa_models.repository.documents import Document, document_of


class Signers(Protocol):
    """Private keys by id, such as a key folder or a dict."""

    def __contains__(self, keyid: object, /) -> bool:
        """Whether the key is there; decrypts nothing."""

    def get(self, keyid: str, /) -> Signer | None:
        """The signer of the key."""


def signed_with(document: Document, signers: Iterable[Signer]) -> Document:
    """`document` with the signatures of `signers` beside those that it has."""
    metadata: Metadata[Any] = Metadata(document.signed, dict(document.metadata.signatures))
    for signer in signers:
        metadata.sign(signer, append=True)
    # In one order, whoever signs first: the same signatures are then the same bytes.
    metadata.signatures = dict(sorted(metadata.signatures.items()))
    return document_of(metadata)


def verified_by(root: Root, document: Document) -> Collection[str]:
    """The ids of the role's keys, after `root`, that have validly signed `document`."""
    result = root.get_verification_result(
        document.role, document.metadata.signed_bytes, document.metadata.signatures
    )
    return list(result.signed)


def missing(root: Root, document: Document) -> int:
    """How many more signatures `root` demands of `document`."""
    signatures = verified_by(root, document)
    return max(0, int(root.roles[document.role].threshold) - len(signatures))


def demand_signed(root: Root, document: Document, where: object) -> None:
    """Refuse a file that `root` does not trust.

    Raises:
        VerificationError: `repository_damaged`.
    """
    try:
        root.verify_delegate(
            document.role, document.metadata.signed_bytes, document.metadata.signatures
        )
    except RepositoryError as error:
        raise VerificationError(f"{where}: {error}", code="repository_damaged") from error
