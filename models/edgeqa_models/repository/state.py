"""How a repository stands: what clients see, verified as a client verifies it, and what is staged.

Nothing is built upon that the repository's own root does not vouch for: whoever can write to the
folder but holds no key must not get anything signed by those who do. Expiry is not checked here;
renewing what has expired starts from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import MetaFile, Root

from edgeqa.errors import VerificationError
from edgeqa_models.repository.documents import Document, parse
from edgeqa_models.repository.layout import Layout, read
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.signatures import demand_signed, missing


@dataclass(frozen=True, slots=True)
class State:
    """A verified repository.

    Attributes:
        first_root_sha256: of 1.root.json, in hex; names the repository.
        root: the newest one.
        staged: metadata that wait for signatures, by role. Their signatures are not verified.
    """

    first_root_sha256: str
    root: Document
    targets: Document
    snapshot: Document
    timestamp: Document
    staged: Mapping[Role, Document]

    def published(self, role: Role) -> Document:
        """What clients see of a role."""
        documents = (self.root, self.targets, self.snapshot, self.timestamp)
        return next(document for document in documents if document.role is role)


def load(layout: Layout) -> State:
    """Read and verify a repository.

    Raises:
        ConfigError: it is none (`repository_missing`).
        VerificationError: a file is missing, malformed or not signed as it must be
            (`repository_damaged`), or something staged is out of date (`staged_stale`).
    """
    layout.demand()
    first, root = _roots(layout)
    staged_root = _staged(layout, root)
    trusted = [root.signed]
    # Once its first metadata are out, a new root that every needed key has signed is as good as
    # published; a command that was killed just then must find its way on.
    if staged_root is not None and not root_missing(root.signed, staged_root):
        trusted.append(staged_root.signed)
    timestamp = _verified(layout, Role.TIMESTAMP, None, trusted)
    snapshot = _verified(layout, Role.SNAPSHOT, timestamp.signed.snapshot_meta, trusted)
    meta = snapshot.signed.meta.get(f"{Role.TARGETS}.json")
    if meta is None:
        raise VerificationError(
            f"{layout.metadata / snapshot.file_name}: does not mention {Role.TARGETS}",
            code="repository_damaged",
        )
    targets = _verified(layout, Role.TARGETS, meta, trusted)
    staged = [staged_root, *(_staged(layout, one) for one in (targets, snapshot, timestamp))]
    return State(
        first_root_sha256=hashlib.sha256(first).hexdigest(),
        root=root,
        targets=targets,
        snapshot=snapshot,
        timestamp=timestamp,
        staged={document.role: document for document in staged if document is not None},
    )


def root_missing(old: Root, new: Document) -> int:
    """How many more signatures a new root needs, of the old root's keys or of its own."""
    return max(missing(old, new), missing(new.signed, new))


def meta_of(document: Document) -> MetaFile:
    """How another file refers to `document`: by version, length and hash."""
    digest = hashlib.sha256(document.raw).hexdigest()
    return MetaFile(document.version, len(document.raw), {"sha256": digest})


def _roots(layout: Layout) -> tuple[bytes, Document]:
    """The bytes of the first root, and the newest one, each signed by the one before."""
    first = read(layout.root(1), Role.ROOT)
    newest = parse(Role.ROOT, first, layout.root(1))
    demand_signed(newest.signed, newest, layout.root(1))
    while (path := layout.root(newest.version + 1)).exists():
        following = parse(Role.ROOT, read(path, Role.ROOT), path)
        if following.version != newest.version + 1:
            raise VerificationError(
                f"{path}: holds version {following.version}", code="repository_damaged"
            )
        demand_signed(newest.signed, following, path)
        demand_signed(following.signed, following, path)
        newest = following
    return first, newest


def _verified(
    layout: Layout, role: Role, expected: MetaFile | None, trusted: list[Root]
) -> Document:
    """The file that the metadata above it refer to; the timestamp has none above it."""
    name = f"{role}.json" if expected is None else f"{expected.version}.{role}.json"
    path = layout.metadata / name
    document = parse(role, read(path, role), path)
    if expected is not None:
        try:
            expected.verify_length_and_hashes(document.raw)
        except RepositoryError as error:
            raise VerificationError(f"{path}: {error}", code="repository_damaged") from error
        if document.version != expected.version:
            raise VerificationError(
                f"{path}: holds version {document.version}", code="repository_damaged"
            )
    if all(missing(root, document) for root in trusted):
        demand_signed(trusted[0], document, path)
    return document


def _staged(layout: Layout, published: Document) -> Document | None:
    """What waits for signatures in a role; None also if it has been published since."""
    role = published.role
    path = layout.staged(role)
    if not path.exists():
        return None
    document = parse(role, read(path, role), path)
    if document.raw == published.raw:
        return None
    if document.version == published.version + 1 or (
        document.version > published.version and role is not Role.ROOT
    ):
        return document
    if role in {Role.SNAPSHOT, Role.TIMESTAMP}:
        return None  # made anew whenever it is needed
    raise VerificationError(
        f"{path}: is version {document.version}, but version {published.version} is published; "
        "delete it and repeat what was staged",
        code="staged_stale",
    )
