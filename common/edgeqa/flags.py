"""Command-line flags made from a settings class, so that no setting is spelled out twice.

A command written for typer takes the finished settings as its parameter `settings`; the decorator
here replaces that parameter by `--config FILE` and one flag per field. Help texts are plain text:
a typer app of its own needs `rich_markup_mode=None`, as the root command has.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from edgeqa.settings import alternatives, flag_of, is_list, load_settings, variable_of

ResultT = TypeVar("ResultT")

PARAMETER = "settings"
FILE_PARAMETER = "config"
_METAVARS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}


def settings_options(
    cls: type[BaseSettings],
    *,
    short: Mapping[str, str] | None = None,
    without: Collection[str] = (),
) -> Callable[[Callable[..., ResultT]], Callable[..., ResultT]]:
    """Give a typer command the flags of a settings class.

    Args:
        cls: read with `edgeqa.settings.load_settings` when the command runs.
        short: field to a second flag, beside the field's name in kebab-case.
        without: fields that get no flag, as they mean nothing to the command.

    Returns:
        A decorator for a function with a parameter `settings`; put it under `@app.command()`.
    """
    flags = {FILE_PARAMETER: _file_parameter(cls)} | {
        field: _field_parameter(cls, field, (short or {}).get(field))
        for field in cls.model_fields
        if field not in without
    }

    def decorate(command: Callable[..., ResultT]) -> Callable[..., ResultT]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != PARAMETER
        ]
        clash = {parameter.name for parameter in own} & set(flags)
        if clash:
            raise TypeError(f"{command.__name__}: {clash} are settings already")

        @functools.wraps(command)
        def run(**values: Any) -> ResultT:
            given = {name: values.pop(name) for name in flags}
            file = given.pop(FILE_PARAMETER)
            return command(**{PARAMETER: load_settings(cls, file=file, flags=given)}, **values)

        parameters = [*own, *flags.values()]
        # What typer reads: the signature for order and defaults, the annotations for the rest.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # a hook of inspect
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__  # typer would unwrap it again
        return run

    return decorate


def _file_parameter(cls: type[BaseSettings]) -> inspect.Parameter:
    option = typer.Option(
        "--config",
        metavar="FILE",
        help=f"TOML file with settings ({variable_of(cls, FILE_PARAMETER)}).",
        show_default=False,
    )
    return _parameter(FILE_PARAMETER, Path | None, option)


def _field_parameter(cls: type[BaseSettings], field: str, short: str | None) -> inspect.Parameter:
    info = cls.model_fields[field]
    flag = flag_of(field)
    kind: Any = str | None
    metavar: str | None = next(
        (_METAVARS[one] for one in alternatives(cls, field) if one in _METAVARS), "TEXT"
    )
    if bool in alternatives(cls, field):
        kind, metavar = bool | None, None
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif is_list(cls, field):
        kind = list[str] | None
    option = typer.Option(
        *([short, flag] if short else [flag]),
        metavar=metavar,
        help=f"{info.description or ''} ({variable_of(cls, field)}{_default(info)})",
        show_default=False,
    )
    return _parameter(field, kind, option)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "; must be set"
    if info.default in (None, PydanticUndefined, (), [], ""):
        return ""
    return f"; default {info.default}"


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind, option],
    )
