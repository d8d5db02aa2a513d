"""How a repository stands, for people and for monitoring."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from edgeqa.errors import VerificationError
from edgeqa.targets import PackageSummary
from edgeqa_models.repository.changes import staged_changes
from edgeqa_models.repository.contents import packages, withdrawn
from edgeqa_models.repository.intake import demand_file
from edgeqa_models.repository.layout import Layout
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.signatures import verified_by
from edgeqa_models.repository.state import State, root_missing
from edgeqa_models.repository.waiting import Waiting, waiting_for, waiting_for_root

_DAY = timedelta(days=1)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class KeyReport(_Part):
    """A key of a role: whether it signed what is published, and is here to sign again."""

    id: str
    signed: bool
    here: bool


class RoleReport(_Part):
    """A role: what is published of it, until when, and who may sign."""

    role: Role
    version: int
    expires: datetime
    days_left: int
    renewed_for_days: int
    threshold: int
    keys: list[KeyReport]


class StagedReport(_Part):
    """Metadata that wait: how many signatures are missing, and which keys may give them."""

    role: Role
    version: int
    missing: int
    keys: list[str]


class Problem(_Part):
    """Something to do, by the code that `status` ends with."""

    code: str
    message: str


class RepositoryReport(_Part):
    """Everything that `status` shows."""

    schema_version: int = 1
    repository: str
    root_of_trust: str
    root_of_trust_sha256: str
    first_root_sha256: str
    roles: list[RoleReport]
    packages: list[PackageSummary]
    withdrawn: dict[str, str]
    staged: list[StagedReport]
    changes: list[str]
    problems: list[Problem]


def report(
    layout: Layout,
    state: State,
    *,
    now: datetime,
    within_days: int = 0,
    keys: Container[str] = (),
    content: bool = False,
) -> RepositoryReport:
    """Describe a repository and what is wrong with it.

    Args:
        layout: of the repository.
        state: as loaded.
        now: what expires is measured against it.
        within_days: what expires so soon is a problem already.
        keys: ids of private keys that are here.
        content: compare every file of every package with its digest, not only its length.
    """
    root_file = layout.root(state.root.version)
    staged = _staged(state)
    problems = [
        *_expired(state, now, within_days),
        *_damaged(layout, state, content=content),
        *(_unsigned(one) for one in staged),
    ]
    return RepositoryReport(
        repository=str(layout.path),
        root_of_trust=str(root_file),
        root_of_trust_sha256=hashlib.sha256(state.root.raw).hexdigest(),
        first_root_sha256=state.first_root_sha256,
        roles=[_role(state, role, now, keys) for role in Role],
        packages=packages(state.targets.signed),
        withdrawn=dict(withdrawn(state.targets.signed)),
        staged=[StagedReport(role=one.role, version=one.version, missing=one.missing,
                             keys=list(one.keyids)) for one in staged],
        changes=staged_changes(state),
        problems=problems,
    )  # fmt: skip


def _role(state: State, role: Role, now: datetime, keys: Container[str]) -> RoleReport:
    document = state.published(role)
    root = state.root.signed
    done = verified_by(root, document)
    return RoleReport(
        role=role,
        version=document.version,
        expires=document.expires,
        days_left=(document.expires - now) // _DAY,
        renewed_for_days=document.days,
        threshold=root.roles[role].threshold,
        keys=[
            KeyReport(id=keyid, signed=keyid in done, here=keyid in keys)
            for keyid in root.roles[role].keyids
        ],
    )


def _staged(state: State) -> list[Waiting]:
    """Everything staged, also what has its signatures but waits for other roles."""
    found = []
    root = state.root.signed
    for role, document in state.staged.items():
        lacking = (
            waiting_for_root(root, document) if role is Role.ROOT else waiting_for(root, document)
        )
        if role is Role.ROOT and not root_missing(root, document):
            root = document.signed  # the others are to be signed after it
        found += lacking or [Waiting(role, document.version, 0, ())]
    return found


def _expired(state: State, now: datetime, within_days: int) -> Iterator[Problem]:
    for role in Role:
        document = state.published(role)
        if now + within_days * _DAY >= document.expires:
            when = "expired" if now >= document.expires else "expires"
            yield Problem(
                code="metadata_expired",
                message=f"{role} {document.version} {when} on {document.expires:%Y-%m-%d %H:%M} "
                f"UTC; run `edgeqa models repository sign` with a key of {role}",
            )


def _damaged(layout: Layout, state: State, *, content: bool) -> Iterator[Problem]:
    for path, target in state.targets.signed.targets.items():
        try:
            demand_file(layout, path, target, content=content)
        except VerificationError as error:
            yield Problem(code=error.code, message=str(error))


def _unsigned(one: Waiting) -> Problem:
    if not one.missing:
        message = f"{one.role} {one.version} has its signatures and waits for the other roles"
    else:
        keys = ", ".join(keyid[:8] for keyid in one.keyids)
        message = f"{one.role} {one.version} lacks {one.missing} signature(s), by any of {keys}"
    return Problem(
        code="signature_missing", message=f"{message}; run `edgeqa models repository sign`"
    )
