"""Writing what was decided, so that readers and killed commands always find a whole repository."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgeqa.files import sync_folder, write_atomic
from edgeqa_models.repository.layout import FOLDER_MODE, Layout, named_write_errors
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.signing import Outcome
from edgeqa_models.repository.state import State

Write = Callable[[Path, bytes], None]


def store(layout: Layout, before: State, outcome: Outcome, *, write: Write = write_atomic) -> None:
    """Write the metadata of an outcome.

    Args:
        layout: of the repository, locked.
        before: how it stands on disk.
        outcome: what is to be written; its order is kept.
        write: replaces a file atomically.

    Raises:
        ConfigError: the disk is full or not writable (`output_unwritable`). What clients see is
            then the old or the new state; the same command finishes the work.
    """
    kept = dict(outcome.staged)
    # What a killed run leaves staged must be what it was about to publish, all signatures
    # included: the next run then sees that it is published, or publishes it.
    for document in outcome.publish:
        if document.role is Role.ROOT or document.role in before.staged:
            kept[document.role] = document
    with named_write_errors(layout.path):
        for role, document in kept.items():
            staged = before.staged.get(role)
            if staged is None or staged.raw != document.raw:
                _make_folder(layout.staged(role).parent)
                write(layout.staged(role), document.raw)
        for document in outcome.publish:
            write(layout.metadata / document.file_name, document.raw)
        for role in Role:
            if role not in outcome.staged:
                layout.staged(role).unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(FOLDER_MODE)
        sync_folder(folder.parent)
