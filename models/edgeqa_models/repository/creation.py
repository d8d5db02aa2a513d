"""Making a repository: keys, the first root, and signed metadata of no packages yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from edgeqa.errors import ConfigError, UsageError
from edgeqa.files import sync_folder, write_atomic
from edgeqa_models.folders import new_folder
from edgeqa_models.repository.documents import Document, Signed, stamped
from edgeqa_models.repository.keys import KeyFolder
from edgeqa_models.repository.layout import FOLDER_MODE, Layout
from edgeqa_models.repository.memory import MEMORY_FILE, remember
from edgeqa_models.repository.roles import MAX_DAYS, Role
from edgeqa_models.repository.signatures import signed_with
from edgeqa_models.repository.state import State, load, meta_of


@dataclass(frozen=True, slots=True)
class Plan:
    """A role's beginnings.

    Attributes:
        keys: how many are made.
        threshold: how many of them must sign.
        days: how long its metadata are valid.
    """

    keys: int
    threshold: int
    days: int


def create(
    layout: Layout,
    keys: KeyFolder,
    plans: Mapping[Role, Plan],
    *,
    now: datetime,
    encrypt: bool,
) -> tuple[State, Mapping[str, Path]]:
    """Make the keys and a repository that appears whole or not at all.

    Args:
        layout: a folder that does not exist yet.
        keys: a folder without keys.
        plans: of all roles.
        now: when the metadata begin to be valid.
        encrypt: whether the keys get a passphrase.

    Returns:
        The repository, and the key files by key id.

    Raises:
        UsageError: a threshold cannot be met.
        ConfigError: the repository, or keys, exist already (`output_exists`); no passphrase; the
            disk is full (`output_unwritable`). Nothing is left behind.
    """
    for role, plan in plans.items():
        if not 1 <= plan.threshold <= plan.keys or not 1 <= plan.days <= MAX_DAYS:
            raise UsageError(
                f"{role}: {plan.threshold} signatures of {plan.keys} keys for {plan.days} days "
                "make no sense"
            )
    if layout.path.exists():
        raise ConfigError(
            f"{layout.path} exists already; delete it or name another", code="output_exists"
        )
    if keys.files() or (keys.path / MEMORY_FILE).exists():
        raise ConfigError(
            f"{keys.path} holds the keys of a repository already; name another folder with --keys",
            code="output_exists",
        )
    made = {
        role: [CryptoSigner.generate_ed25519() for _ in range(plan.keys)]
        for role, plan in plans.items()
    }
    files: dict[str, Path] = {}
    try:
        for role, signers in made.items():
            for signer in signers:
                files[signer.public_key.keyid] = keys.store(signer, role=role, encrypt=encrypt)
        with new_folder(layout.path) as folder:
            _write(Layout(folder), _first_documents(plans, made, now))
    except BaseException:
        for path in files.values():
            path.unlink(missing_ok=True)
        raise
    state = load(layout)
    remember(keys.path, state)
    return state, files


def _first_documents(
    plans: Mapping[Role, Plan], made: Mapping[Role, list[CryptoSigner]], now: datetime
) -> list[Document]:
    def first(signed: Signed) -> Document:
        role = Role(signed.type)
        document = stamped(signed, version=1, now=now, days=plans[role].days)
        return signed_with(document, made[role])

    root = Root()
    for role, plan in plans.items():
        for signer in made[role]:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = plan.threshold
    targets = first(Targets())
    snapshot = first(Snapshot(meta={f"{Role.TARGETS}.json": meta_of(targets)}))
    timestamp = first(Timestamp(snapshot_meta=meta_of(snapshot)))
    return [targets, snapshot, timestamp, first(root)]


def _write(layout: Layout, documents: list[Document]) -> None:
    for folder in (layout.metadata, layout.targets):
        folder.mkdir()
        folder.chmod(FOLDER_MODE)
    for document in documents:
        write_atomic(layout.metadata / document.file_name, document.raw)
    sync_folder(layout.path)
