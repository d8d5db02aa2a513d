"""What signing makes of a repository, given the keys that are there: decided without IO.

Metadata are made from the targets up: a targets file that has all its signatures calls for a
snapshot, that for a timestamp. What lacks signatures is staged for whoever holds the other keys,
and the rest of the repository goes on without it.

A new root is published last, and what it changes the keys of is signed with the old keys too, as
far as they are there. A client that reads in between is served under either root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from edgeqa_models.repository.documents import Document, stamped
from edgeqa_models.repository.roles import Role
from edgeqa_models.repository.signatures import Signers, missing, signed_with, verified_by
from edgeqa_models.repository.state import State, meta_of, root_missing
from edgeqa_models.repository.waiting import Waiting, waiting_for, waiting_for_root


@dataclass(frozen=True, slots=True)
class Order:
    """What to sign.

    Attributes:
        now: from when on the new metadata are valid.
        days: for how long, where it shall change.
        roles: whose keys are to be used.
        renew: every role, whether it is due or not.
        above: versions that devices have seen of a repository that was restored since.
    """

    now: datetime
    days: Mapping[Role, int] = field(default_factory=dict)
    roles: frozenset[Role] = frozenset(Role)
    renew: bool = False
    above: Mapping[Role, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write.

    Attributes:
        publish: new metadata, in the order in which they are to be written.
        staged: all that waits for signatures from now on.
        waiting: what is lacking.
    """

    publish: tuple[Document, ...]
    staged: Mapping[Role, Document]
    waiting: tuple[Waiting, ...]


def advance(state: State, signers: Signers, order: Order) -> Outcome:
    """Sign what can be signed and publish what is complete.

    Args:
        state: what is published and staged.
        signers: the keys that are there.
        order: what to sign.
    """
    root = _next_root(state, signers, order)
    staged: dict[Role, Document] = {}
    waiting: list[Waiting] = []
    if root is not None:
        staged[Role.ROOT] = root
        waiting += waiting_for_root(state.root.signed, root)
        if not root_missing(state.root.signed, root):
            under = _attempt(state, signers, order, root.signed)
            if under.valid:
                return Outcome((*under.fresh.values(), root), under.held, tuple(under.waiting))
            staged |= under.held
            waiting += under.waiting
    under = _attempt(state, signers, order, state.root.signed)
    staged = {**under.held, **staged}
    known = {one.role for one in waiting}
    waiting += [one for one in under.waiting if one.role not in known]
    return Outcome(
        publish=tuple(under.fresh.values()),
        staged={role: one for role, one in staged.items() if role not in under.fresh},
        waiting=tuple(one for one in waiting if one.role not in under.fresh),
    )


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What can be made valid under one root.

    Attributes:
        valid: whether everything is, with what is in `fresh`.
        fresh: new metadata, complete.
        held: what must be kept for others to go on with.
        waiting: what is lacking.
    """

    valid: bool
    fresh: Mapping[Role, Document]
    held: Mapping[Role, Document]
    waiting: list[Waiting]


def _attempt(state: State, signers: Signers, order: Order, final: Root) -> _Attempt:
    turn = _Turn(state, signers, order, final)
    if turn.run(turn.next_targets()):
        return _Attempt(True, turn.fresh, turn.held(), turn.waiting)
    # New targets must wait for a snapshot by somebody else; the timestamp must not wait for it.
    held = turn.held() | turn.fresh
    calm = _Turn(state, signers, order, final)
    if not calm.run(state.targets):
        return _Attempt(False, {}, held, turn.waiting)
    held = {role: document for role, document in held.items() if role not in calm.fresh}
    return _Attempt(True, calm.fresh, held, turn.waiting)


def _next_root(state: State, signers: Signers, order: Order) -> Document | None:
    """The root that is to come, with the signatures that can be made."""
    old = state.root
    document = state.staged.get(Role.ROOT)
    allowed = Role.ROOT in order.roles
    if document is None:
        wanted = order.renew or Role.ROOT in order.days or old.is_due(order.now)
        there = any(keyid in signers for keyid in old.signed.roles[Role.ROOT].keyids)
        if not (allowed and wanted and there):
            return None
    if document is None or not _is_begun_root(old, document, order.now):
        latest = document or old
        document = stamped(
            latest.signed,
            version=old.version + 1,
            now=order.now,
            days=order.days.get(Role.ROOT, latest.days),
        )
    if allowed:
        document = _sign(document, signers, (old.signed, document.signed))
    # Without a signature nothing has begun, and what is staged stays as it is.
    return document if document.metadata.signatures else state.staged.get(Role.ROOT, document)


def _is_begun_root(old: Document, staged: Document, now: datetime) -> bool:
    """Whether a staged root keeps its dates: what no key vouches for begins to be valid now."""
    if verified_by(old.signed, staged):
        return True
    # A new key alone may be anybody's, so what it signed must be what we would have made.
    usual = staged.days == old.days and staged.signed_at <= now
    return usual and bool(verified_by(staged.signed, staged))


def _sign(document: Document, signers: Signers, roots: Iterable[Root]) -> Document:
    keyids: dict[str, None] = {}
    for root in roots:
        done = verified_by(root, document)
        keyids |= dict.fromkeys(one for one in root.roles[document.role].keyids if one not in done)
    made = [signer for one in keyids if one in signers and (signer := signers.get(one))]
    return signed_with(document, made) if made else document


class _Turn:
    """One go at targets, snapshot and timestamp, to be valid under a given root."""

    def __init__(self, state: State, signers: Signers, order: Order, final: Root) -> None:
        self._state = state
        self._signers = signers
        self._order = order
        self._final = final
        self.fresh: dict[Role, Document] = {}
        self.waiting: list[Waiting] = []
        self._incomplete: dict[Role, Document] = {}

    def run(self, targets: Document) -> bool:
        """Whether all roles are valid under the root, with what is in `fresh`."""
        if self._must_renew(targets):
            return False
        meta = {f"{Role.TARGETS}.json": meta_of(targets)}
        snapshot = self._derived(self._state.snapshot, Snapshot(meta=meta))
        if snapshot is None:
            return False
        timestamp = Timestamp(snapshot_meta=meta_of(snapshot))
        return self._derived(self._state.timestamp, timestamp) is not None

    def held(self) -> dict[Role, Document]:
        """What must be kept for others to sign."""
        return {
            role: document
            for role, document in self._incomplete.items()
            if document.metadata.signatures or role in self._state.staged
        }

    def next_targets(self) -> Document:
        """The targets to go on from: staged or renewed ones if they are complete."""
        published = self._state.targets
        staged = self._state.staged.get(Role.TARGETS)
        if staged is not None:
            # What no key vouches for begins to be valid now, whatever its file says.
            usable = staged if self._is_begun(staged) else self._stamp(staged.signed)
            return self._settle(usable) or published
        if self._wanted(published):
            return self._settle(self._stamp(published.signed)) or published
        return published

    def _derived(self, published: Document, made: Snapshot | Timestamp) -> Document | None:
        """The snapshot or timestamp to use; None if a new one is needed and lacks signatures."""
        needed = self._must_renew(published) or not _same(published, made)
        if not (needed or self._wanted(published)):
            return published
        document = self._state.staged.get(published.role)
        if document is None or not _same(document, made) or not self._is_begun(document):
            document = self._stamp(made)
        return self._settle(document) or (None if needed else published)

    def _is_begun(self, staged: Document) -> bool:
        roots = (self._final, self._state.root.signed)
        vouched = any(verified_by(root, staged) for root in roots)
        return vouched and staged.version > self._seen(staged.role)

    def _must_renew(self, published: Document) -> bool:
        behind = published.version < self._order.above.get(published.role, 0)
        return behind or missing(self._final, published) > 0

    def _wanted(self, published: Document) -> bool:
        role, order = published.role, self._order
        if self._must_renew(published):
            return True
        there = any(keyid in self._signers for keyid in self._final.roles[role].keyids)
        if role not in order.roles or not there:
            return False
        always = role is Role.TIMESTAMP
        return always or order.renew or role in order.days or published.is_due(order.now)

    def _seen(self, role: Role) -> int:
        return max(self._state.published(role).version, self._order.above.get(role, 0))

    def _stamp(self, signed: Targets | Snapshot | Timestamp) -> Document:
        role = Role(signed.type)
        return stamped(
            signed,
            version=self._seen(role) + 1,
            now=self._order.now,
            days=self._order.days.get(role, self._state.published(role).days),
        )

    def _settle(self, document: Document) -> Document | None:
        """Sign; keep apart what is not complete."""
        if document.role in self._order.roles:
            roots = (self._final, self._state.root.signed)
            document = _sign(document, self._signers, roots)
        lacking = waiting_for(self._final, document)
        self.waiting += lacking
        if lacking:
            begun = document.metadata.signatures or document.role not in self._state.staged
            self._incomplete[document.role] = (
                document if begun else self._state.staged[document.role]
            )
            return None
        self.fresh[document.role] = document
        return document


def _same(document: Document, made: Snapshot | Timestamp) -> bool:
    """Whether a file refers to what `made` refers to."""
    if isinstance(made, Snapshot):
        return bool(document.signed.meta == made.meta)
    return bool(document.signed.snapshot_meta == made.snapshot_meta)
