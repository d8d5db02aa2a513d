"""Validates the bulk of the messages with msgspec, some five times as fast as pydantic does.

There is one contract: the structs here are made from its pydantic models, field by field and bound
by bound. What msgspec takes, pydantic takes too, which a test demands of hostile messages; what it
refuses is left to pydantic, which may know better and says what is wrong.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from edgeqa.histogram import Histogram, check_sums

# Returns an object with the attributes of the model; None: ask pydantic.
Decode = Callable[[bytes], Any]

# What pydantic models do beyond their fields, for those that are met here.
_NAMESPACES: dict[type[BaseModel], dict[str, Any]] = {
    Histogram: {"__post_init__": check_sums, "quantile": Histogram.quantile}
}
_BOUNDS = {Ge: "ge", Gt: "gt", Le: "le", MaxLen: "max_length", MinLen: "min_length"}


def decoder(model: type[BaseModel]) -> Decode:
    """A decoder of one kind of message.

    Raises:
        TypeError: the model has a field of a kind that is not known here.
    """
    struct = _struct(model, {})
    decode = msgspec.json.Decoder(struct).decode

    def quick(payload: bytes) -> Any:
        try:
            payload.decode()  # msgspec does not look into what it skips
            return decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    return quick


def _struct(model: type[BaseModel], made: dict[type[BaseModel], Any]) -> Any:
    if model not in made:
        names = {name: field.alias for name, field in model.model_fields.items() if field.alias}
        made[model] = msgspec.defstruct(
            f"Quick{model.__name__}",
            [_field(name, field, made) for name, field in model.model_fields.items()],
            namespace=dict(_NAMESPACES.get(model, {})),
            rename=names or None,
            kw_only=True,
            gc=False,  # they hold no circles
        )
    return made[model]


def _field(name: str, field: FieldInfo, made: dict[type[BaseModel], Any]) -> tuple[str, Any, Any]:
    kind = _typed(field.annotation, field.metadata, made)
    if field.is_required():
        return name, kind, msgspec.field()
    if field.default_factory is None:
        return name, kind, msgspec.field(default=field.default)
    make: Any = field.default_factory  # those that look at other fields are not met here
    return name, kind, msgspec.field(default_factory=make)


def _typed(annotation: Any, metadata: list[Any], made: dict[type[BaseModel], Any]) -> Any:
    """The type for msgspec, with the bounds that stand beside it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _typed(parts[0], [*_flat(parts[1:]), *metadata], made)
    if origin in {Union, types.UnionType}:
        inner = [part for part in parts if part is not type(None)]
        if len(inner) != 1 or len(parts) != 2:  # noqa: PLR2004  one type and None
            raise TypeError(f"{annotation}: only a type or None")
        return _typed(inner[0], metadata, made) | None
    if origin is Literal:
        return annotation
    if origin in {list, dict}:
        kind: Any = origin[tuple(_typed(part, [], made) for part in parts)]
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation, made)
    elif annotation in {int, float, str, bool}:
        kind = annotation
    else:
        raise TypeError(f"{annotation}: not known here")
    bounds = _bounds(metadata)
    return Annotated[kind, msgspec.Meta(**bounds)] if bounds else kind


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    parts = (one.metadata if isinstance(one, FieldInfo) else [one] for one in metadata)
    return [one for part in parts for one in part]


def _bounds(metadata: list[Any]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for one in metadata:
        if isinstance(one, StringConstraints):
            # Python's `$` also matches before a line break at the end, that of pydantic does not.
            pattern = (
                one.pattern.removesuffix("$") + r"\Z" if isinstance(one.pattern, str) else None
            )
            said = {"pattern": pattern, "min_length": one.min_length, "max_length": one.max_length}
            bounds |= {name: value for name, value in said.items() if value is not None}
        elif type(one) in _BOUNDS:
            name = _BOUNDS[type(one)]
            bounds[name] = getattr(one, name)
        elif type(one).__name__ != "AllowInfNan":  # JSON has neither
            raise TypeError(f"{one}: not known here")
    return bounds


def _pattern(pattern: str) -> str:
    """Python's `$` also matches before a line break at the end, that of pydantic does not."""
    return pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern
