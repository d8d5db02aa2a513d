"""The commands that change a repository, each under its lock: add, withdraw, sign, publish, rotate.

What is written, and in which order, is made so that a client that reads at any moment, and a
command that is killed at any moment, find a whole repository: files of packages, targets,
snapshot, timestamp, root. Each but the timestamp has a name of its own and never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from edgeqa.errors import ConfigError, VerificationError
from edgeqa.files import copy_atomic, write_atomic
from edgeqa.manifest import open_package
from edgeqa_models.repository.changes import staged_changes
from edgeqa_models.repository.contents import packages, without_package
from edgeqa_models.repository.documents import Document, stamped
from edgeqa_models.repository.intake import Copy, admit, demand_files, entered
from edgeqa_models.repository.keys import KeyFolder
from edgeqa_models.repository.layout import Layout
from edgeqa_models.repository.memory import demand_known, recall, remember
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.rotation import KeyChange, changed
from edgeqa_models.repository.signing import Order, Outcome, advance
from edgeqa_models.repository.state import State, load
from edgeqa_models.repository.store import Write, store

# What asks for an approval, or gives it: the changes in words.
Approve = Callable[[list[str]], bool]
_REVIEWED = frozenset({Role.ROOT, Role.TARGETS})


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a command works.

    Attributes:
        layout: the repository.
        keys: what to sign with.
        restored: the repository comes from a backup, and is to go on above what devices have seen.
        write: replaces a metadata file atomically.
        copy: copies a file of a package.
    """

    layout: Layout
    keys: KeyFolder
    restored: bool = False
    write: Write = write_atomic
    copy: Copy = copy_atomic


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did.

    Attributes:
        state: of the repository afterwards.
        outcome: None if there was nothing to do.
        notes: for the user, beside that.
    """

    state: State
    outcome: Outcome | None
    notes: tuple[str, ...] = ()


def add(layout: Layout, folders: Sequence[Path], *, copy: Copy = copy_atomic) -> bool:
    """Verify packages, copy them in and stage them for `sign`; needs no key.

    Returns:
        Whether there was anything new.

    Raises:
        ModelLoadError: a folder is no package (`package_malformed`).
        VerificationError: a package or the repository is damaged, or `version_published`.
        ConfigError: no repository, or the disk is full; nothing was changed.
        RepositoryBusyError: another command writes.
    """
    opened = [open_package(folder) for folder in folders]
    with layout.locked():
        state = load(layout)
        document = admit(layout, state, opened, copy=copy)
        if document is not None:
            _stage(layout, state, document)
    return document is not None


def withdraw(layout: Layout, name: str, version: str) -> None:
    """Stage a package's removal for `sign`; its files stay, devices are not offered it any more.

    Raises:
        ConfigError: `package_unknown`, or as `add`.
        VerificationError: the repository is damaged.
        RepositoryBusyError: another command writes.
    """
    with layout.locked():
        state = load(layout)
        targets = state.staged.get(Role.TARGETS, state.targets).signed
        _stage(layout, state, entered(state, without_package(targets, name, version)))


def sign(bench: Bench, order: Order, *, approve: Approve) -> Done:
    """Sign what is staged, if `approve` agrees, and renew what is due; publish what is complete.

    Raises:
        ConfigError: a key, its passphrase or the repository is missing or wrong.
        VerificationError: the repository is damaged or not the one that the keys belong to, or
            the keys have nothing to add (`signature_missing`).
        RepositoryBusyError: another command writes.
    """
    with bench.layout.locked():
        state = load(bench.layout)
        order = _guarded(bench, state, order)
        lines = staged_changes(state)
        if lines and not approve(lines):
            order = replace(order, roles=order.roles - (_REVIEWED & set(state.staged)))
        return _finish(bench, state, state, order)


def publish(bench: Bench, folders: Sequence[Path], order: Order) -> Done:
    """Add packages and sign all but the root, in one step.

    Nothing else that is staged is signed along: that would be signing unread.

    Raises:
        VerificationError: as `add` and `sign`; `staged_others`, other changes are staged.
        ModelLoadError: a folder is no package.
        ConfigError: as `add` and `sign`.
        RepositoryBusyError: another command writes.
    """
    opened = [open_package(folder) for folder in folders]
    with bench.layout.locked():
        state = load(bench.layout)
        order = _guarded(bench, state, replace(order, roles=order.roles - {Role.ROOT}))
        _demand_keys(bench.keys, state, order)
        _demand_only(state, {(one.manifest.name, one.manifest.version) for one in opened})
        document = admit(bench.layout, state, opened, copy=bench.copy)
        if document is None and Role.TARGETS not in state.staged:
            return Done(state, None)
        changed_state = state
        if document is not None:
            changed_state = replace(state, staged={**state.staged, Role.TARGETS: document})
        return _finish(bench, state, changed_state, order)


def rotate(
    bench: Bench, change: KeyChange, order: Order, *, generate: int, encrypt: bool
) -> tuple[Done, Mapping[str, Path]]:
    """Change the keys of a role by a new root, and sign that.

    Args:
        bench: where.
        change: which keys go and come.
        order: what to sign with.
        generate: how many keys are to be made, in the key folder, beside those of `change`.
        encrypt: whether with a passphrase.

    Returns:
        What was done, and the new keys' files by key id.

    Raises:
        UsageError: the threshold cannot be met, or a key is there already.
        ConfigError: as `sign`; `staged_waiting`, a root is staged already.
        VerificationError: as `sign`.
        RepositoryBusyError: another command writes.
    """
    with bench.layout.locked():
        state = load(bench.layout)
        if Role.ROOT in state.staged:
            raise ConfigError(
                f"a new root waits for signatures already; sign it, or delete "
                f"{bench.layout.staged(Role.ROOT)}",
                code="staged_waiting",
            )
        order = _guarded(bench, state, order)
        made = [CryptoSigner.generate_ed25519() for _ in range(generate)]
        added = [*change.add, *(signer.public_key for signer in made)]
        root = changed(state.root.signed, replace(change, add=added))
        files = {
            signer.public_key.keyid: bench.keys.store(signer, role=change.role, encrypt=encrypt)
            for signer in made
        }
        document = stamped(
            root, version=state.root.version + 1, now=order.now, days=state.root.days
        )
        order = replace(order, roles=order.roles - (_REVIEWED & set(state.staged)))
        following = replace(state, staged={**state.staged, Role.ROOT: document})
        return _finish(bench, state, following, order), files


def _stage(layout: Layout, state: State, document: Document) -> None:
    staged = {**state.staged, document.role: document}
    store(layout, state, Outcome(publish=(), staged=staged, waiting=()))


def _guarded(bench: Bench, state: State, order: Order) -> Order:
    above = demand_known(recall(bench.keys.path), state, restored=bench.restored)
    last = max(state.published(role).signed_at for role in Role if role is not Role.ROOT)
    if order.now < last:
        raise ConfigError(
            f"the time to sign at, {order.now:%Y-%m-%d %H:%M:%S} UTC, is before that of the last "
            f"signature, {last:%Y-%m-%d %H:%M:%S} UTC; set the clock",
            code="clock_behind",
        )
    return replace(order, above=above)


def _finish(bench: Bench, before: State, state: State, order: Order) -> Done:
    outcome = advance(state, bench.keys, order)
    _demand_progress(bench, before, outcome)
    fresh = {**outcome.staged, **{one.role: one for one in outcome.publish}}.get(Role.TARGETS)
    if fresh is not None and fresh is not before.staged.get(Role.TARGETS):
        demand_files(bench.layout, state.targets.signed, fresh.signed)
    store(bench.layout, before, outcome, write=bench.write)
    after = load(bench.layout)
    notes = []
    try:
        remember(bench.keys.path, after)
    except ConfigError as error:  # a stick that is write-protected; the work itself is done
        notes.append(f"not noted in the key folder: {error}")
    return Done(after, outcome, tuple(notes))


def _demand_progress(bench: Bench, before: State, outcome: Outcome) -> None:
    staged = {role: one.raw for role, one in outcome.staged.items()}
    if outcome.publish or staged != {role: one.raw for role, one in before.staged.items()}:
        return
    known = {*before.root.signed.keys, *_keys_of_root(outcome)}
    if not known.intersection(bench.keys.files()):
        raise ConfigError(f"{bench.keys.path} holds no key of this repository", code="key_missing")
    if outcome.waiting:
        first = outcome.waiting[0]
        raise VerificationError(
            f"nothing to sign with the keys in {bench.keys.path}: {first.role} {first.version} "
            f"lacks {first.missing} signature(s), by any of "
            f"{', '.join(keyid[:8] for keyid in first.keyids)}",
            code="signature_missing",
        )
    raise ConfigError(
        f"{bench.keys.path} holds no key that could sign anything now", code="key_missing"
    )


def _keys_of_root(where: Outcome | State) -> Collection[str]:
    staged = where.staged.get(Role.ROOT)
    return list(staged.signed.keys) if staged else ()


def _demand_keys(keys: KeyFolder, state: State, order: Order) -> None:
    """Refuse before anything is copied if a role has no key here, or it cannot be opened."""
    for role in Role:
        keyids = state.root.signed.roles[role].keyids
        if role in order.roles and not any(keys.get(keyid) for keyid in keyids):
            raise ConfigError(
                f"{keys.path} holds no key of {role} ({', '.join(one[:8] for one in keyids)}); "
                "where keys are kept apart, use `add` and `sign`",
                code="key_missing",
            )


def _demand_only(state: State, mine: set[tuple[str, str]]) -> None:
    staged = state.staged.get(Role.TARGETS)
    if staged is None:
        return
    before, after = (
        {(one.name, one.version) for one in packages(targets)}
        for targets in (state.targets.signed, staged.signed)
    )
    others = (before ^ after) - mine
    if others:
        listed = ", ".join(sorted(" ".join(one) for one in others))
        raise VerificationError(
            f"other changes are staged ({listed}); sign them with `edgeqa models repository sign`, "
            "or delete staged/targets.json",
            code="staged_others",
        )
