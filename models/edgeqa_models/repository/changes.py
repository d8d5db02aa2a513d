"""What signing staged metadata would change, in words: to be read before it is signed. Pure."""

from __future__ import annotations

from tuf.api.metadata import Root, Targets

from edgeqa_models.repository.contents import grouped, label, packages
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.state import State


def staged_changes(state: State) -> list[str]:
    """One line per change that waits for signatures; empty if none does.

    Raises:
        VerificationError: `repository_damaged`, what is staged makes no sense.
    """
    lines = []
    if (root := state.staged.get(Role.ROOT)) is not None:
        lines += _of_root(state.root.signed, root.signed)
    if (targets := state.staged.get(Role.TARGETS)) is not None:
        lines += _of_targets(state.targets.signed, targets.signed)
    return lines


def _of_root(old: Root, new: Root) -> list[str]:
    lines = []
    for role in Role:
        before, after = old.roles[role], new.roles[role]
        lines += [f"{role}: - key {one[:8]}" for one in before.keyids if one not in after.keyids]
        lines += [f"{role}: + key {one[:8]}" for one in after.keyids if one not in before.keyids]
        if before.threshold != after.threshold:
            lines.append(f"{role}: threshold {before.threshold} -> {after.threshold}")
    if old.consistent_snapshot != new.consistent_snapshot:
        lines.append(f"root: consistent snapshots {new.consistent_snapshot}")
    return lines or ["root: renewed with the same keys"]


def _of_targets(old: Targets, new: Targets) -> list[str]:
    before = {(one.name, one.version): one for one in packages(old)}
    after = {(one.name, one.version): one for one in packages(new)}
    files_before, files_after = grouped(old), grouped(new)
    lines = [f"- {one.name} {one.version}" for key, one in before.items() if key not in after]
    lines += [
        f"{'!' if key in before else '+'} {one.name} {one.version} "
        f"({one.architecture}, {one.precision}, {one.bytes:,} bytes) {one.digest}"
        for key, one in after.items()
        if before.get(key) != one or files_before.get(label(one)) != files_after[label(one)]
    ]
    if new.delegations is not None:
        lines.append("targets: delegations to other keys")
    return lines or ["targets: renewed with the same packages"]
