"""What an agent remembers of its models across restarts.

Pure: each change gives a new state, which `Store` writes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)

from edgeqa.messages import Fault, Id, ModelRef, Name
from edgeqa.model_messages import Desired, Digest, ModelState, Version

# A power cut while a model loads looks like a model that takes the device down. One or two in a
# row happen; a device that dies in the same load three times is not given a fourth.
MAX_BOOT_ATTEMPTS = 3

# Of the packages a device gave up, and of those it has begun to load, the newest are remembered.
_MAX_REMEMBERED = 16
_MAX_MESSAGE = 500

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_VERSION: TypeAdapter[str] = TypeAdapter(Version)
_DIGEST: TypeAdapter[str] = TypeAdapter(Digest)


def _whole(ref: ModelRef) -> ModelRef:
    # Its parts become a file name: what stands in the file must be as narrow as the wire.
    _NAME.validate_python(ref.name)
    _VERSION.validate_python(ref.version)
    _DIGEST.validate_python(ref.digest)
    return ref


def _brief(message: object) -> object:
    # Messages carry other programs' words, and file names that may not be UTF-8.
    if isinstance(message, str):
        return message.encode("utf-8", "replace").decode()[:_MAX_MESSAGE]
    return message


_Ref = Annotated[ModelRef, AfterValidator(_whole)]
_Message = Annotated[str, BeforeValidator(_brief)]
_Count = Annotated[int, Field(ge=0, le=1_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class WishRecord(_Part):
    """The wish that was followed last, and what became of it; it is not followed again."""

    id: Id
    state: Literal[ModelState.ACTIVE, ModelState.FAILED, ModelState.ROLLED_BACK]
    name: Name
    version: Version
    digest: Digest | None = None
    rollout: Id | None = None
    code: str | None = Field(default=None, description="Why not active: a code of docs/errors.md.")
    message: _Message | None = None

    @classmethod
    def of(cls, wish: Desired, digest: str | None, reason: Fault | None = None) -> WishRecord:
        """Of a wish that was followed: fulfilled, or failed for a reason."""
        return cls(
            id=wish.id,
            state=ModelState.FAILED if reason else ModelState.ACTIVE,
            name=wish.name,
            version=wish.version,
            digest=digest,
            rollout=wish.rollout,
            code=reason.code if reason else None,
            message=reason.message if reason else None,
        )


class GivenUp(_Part):
    """A package that the device does not go back to by itself."""

    digest: Digest
    code: str
    message: _Message


class StoreState(_Part):
    """Which package to start with, and what must not be done twice.

    Attributes:
        current: what answers; None: the embedded default, whichever the installation has.
        previous: what a rollback goes to; None: the embedded default.
        wish: the wish followed last.
        command_number: of the last command; 0 before the first.
        begun: loads begun and never finished, by digest.
        given_up: newest last.
        recent: digests that were current, newest last.
    """

    current: _Ref | None = None
    previous: _Ref | None = None
    wish: WishRecord | None = None
    command_number: int = Field(default=0, ge=0, le=2**53)
    begun: dict[Digest, _Count] = {}
    given_up: tuple[GivenUp, ...] = ()
    recent: tuple[Digest, ...] = ()

    @model_validator(mode="after")
    def _previous_needs_current(self) -> StoreState:
        if self.previous is not None and self.current is None:
            raise ValueError("previous without current")
        return self

    def attempts(self, digest: str) -> int:
        """Loads of a package that were begun since it was last ready, and did not end in that."""
        return self.begun.get(digest, 0)

    def is_given_up(self, digest: str) -> bool:
        """Whether the device gave it up, and nobody wished for it since."""
        return any(one.digest == digest for one in self.given_up)

    def beginning(self, digest: str) -> StoreState:
        """A load begins."""
        others = {one: count for one, count in self.begun.items() if one != digest}
        kept = dict(list(others.items())[1 - _MAX_REMEMBERED :])
        return _changed(self, begun={**kept, digest: self.attempts(digest) + 1})

    def ready(self, digest: str) -> StoreState:
        """A load has succeeded."""
        return _changed(self, begun={k: v for k, v in self.begun.items() if k != digest})

    def activated(self, ref: ModelRef, wish: WishRecord | None) -> StoreState:
        """A proven package takes over."""
        same = self.current is not None and self.current.digest == ref.digest
        recent = (*(one for one in self.recent if one != ref.digest), ref.digest)
        return _changed(
            self.ready(ref.digest),
            current=ref,
            previous=self.previous if same else self.current,
            wish=wish or self.wish,
            given_up=tuple(one for one in self.given_up if one.digest != ref.digest),
            recent=recent[-_MAX_REMEMBERED:],
        )

    def wished(self, record: WishRecord) -> StoreState:
        """A wish is over."""
        return _changed(self, wish=record)

    def commanded(self, number: int) -> StoreState:
        """A command is obeyed."""
        return _changed(self, command_number=number)

    def forgotten(self, digest: str) -> StoreState:
        """A package is no longer whole.

        A wish that it fulfilled counts as not followed, so that it is fetched again.
        """
        lost = self.wish is not None and self.wish.digest == digest
        return _changed(self._without(digest), wish=None if lost else self.wish)

    def abandoned(self, ref: ModelRef, reason: Fault) -> StoreState:
        """A package is not wanted any more, though it is whole."""
        wish = self.wish
        if (
            wish is not None
            and wish.state is ModelState.ACTIVE
            and (wish.name, wish.version) == (ref.name, ref.version)
            and wish.digest in {None, ref.digest}
        ):
            wish = WishRecord(
                **wish.model_dump(exclude={"state", "code", "message"}),
                state=ModelState.ROLLED_BACK,
                code=reason.code,
                message=reason.message,
            )
        others = (one for one in self.given_up if one.digest != ref.digest)
        one = GivenUp(digest=ref.digest, code=reason.code, message=reason.message)
        return _changed(
            self._without(ref.digest), wish=wish, given_up=(*others, one)[-_MAX_REMEMBERED:]
        )

    def _without(self, digest: str) -> StoreState:
        changed = self.ready(digest)
        if self.current is not None and self.current.digest == digest:
            changed = _changed(changed, current=self.previous, previous=None)
        elif self.previous is not None and self.previous.digest == digest:
            changed = _changed(changed, previous=None)
        return changed


def _changed(state: StoreState, **changes: Any) -> StoreState:
    return state.model_copy(update=changes)
