"""What a key folder remembers of its repository, so that its keys sign no other and no older one.

Who can write to the repository's folder could exchange all of it, root included, for one that also
names a key of their own, or for one of last month. Devices refuse both; signatures must not help.
The folder therefore pins the first root by its SHA-256 and the newest versions that it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeqa.errors import ConfigError, VerificationError
from edgeqa.files import write_atomic
from edgeqa.manifest import Sha256
from edgeqa_models.repository.layout import named_write_errors
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.state import State

MEMORY_FILE = "repository.json"
_MAX_BYTES = 1 << 16


class Memory(BaseModel):
    """The repository that a key folder belongs to."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    first_root_sha256: Sha256
    versions: dict[Role, int] = Field(description="Newest version seen of each role.")

    @classmethod
    def of(cls, state: State) -> Memory:
        """What to remember of a repository."""
        return cls(
            first_root_sha256=state.first_root_sha256,
            versions={role: state.published(role).version for role in Role},
        )


def recall(keys: Path) -> Memory | None:
    """What the folder remembers; None if its keys have signed nothing yet.

    Raises:
        ConfigError: `key_damaged`, the file is malformed.
    """
    path = keys / MEMORY_FILE
    try:
        with path.open("rb") as file:
            return Memory.model_validate_json(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}", code="key_damaged"
        ) from error
    except ValidationError as error:
        raise ConfigError(f"{path}: is malformed; bring it back", code="key_damaged") from error


def demand_known(memory: Memory | None, state: State, *, restored: bool) -> Mapping[Role, int]:
    """Refuse to sign another repository, or an older state of this one.

    Args:
        memory: of the key folder.
        state: of the repository.
        restored: the operator says that it comes from a backup.

    Returns:
        The versions above which new metadata are to be numbered.

    Raises:
        VerificationError: `repository_mismatch` or `repository_rolled_back`.
    """
    if memory is None:
        return {}
    if memory.first_root_sha256 != state.first_root_sha256:
        raise VerificationError(
            "these keys belong to another repository: their folder remembers the first root "
            f"sha256:{memory.first_root_sha256[:16]}…, this one has "
            f"sha256:{state.first_root_sha256[:16]}…",
            code="repository_mismatch",
        )
    for role, seen in memory.versions.items():
        version = state.published(role).version
        if version < seen and role is Role.ROOT:
            raise VerificationError(
                f"{version + 1}.root.json to {seen}.root.json are gone; bring them back, devices "
                "follow the root one by one",
                code="repository_rolled_back",
            )
        if version < seen and not restored:
            raise VerificationError(
                f"{role} {version} is older than version {seen}, which these keys have seen: "
                "somebody rolled the repository back; if you did, from a backup, run "
                "`edgeqa models repository sign --restored`",
                code="repository_rolled_back",
            )
    return memory.versions if restored else {}


def remember(keys: Path, state: State) -> None:
    """Note the repository's newest state in the key folder.

    Raises:
        ConfigError: the folder cannot be written (`output_unwritable`).
    """
    path = keys / MEMORY_FILE
    content = (Memory.of(state).model_dump_json(indent=2) + "\n").encode()
    with named_write_errors(path):
        if not path.exists() or path.read_bytes() != content:
            write_atomic(path, content)
