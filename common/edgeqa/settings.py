"""Settings of a role, read once at its start: flag over environment over file over default.

Every field of a settings class can be set by a flag `--kebab-case`, by an environment variable
(the class's `env_prefix` and the field's name in capitals) and by a key of a TOML file. What is
set but not known is refused, not ignored: a typing mistake in a variable's name would otherwise
leave a fleet on a default that nobody asked for. Every refusal is a `ConfigError` that names the
field and where its value came from, never the value, which may be a secret.

A class may name fields that exclude each other in `EXCLUSIVE`: a flag for one then also overrides
a variable for the other.
"""

from __future__ import annotations

import os
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from edgeqa.errors import ConfigError

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

# PREFIX + this names the settings file where no `--config` does.
FILE_VARIABLE = "CONFIG"
# A settings file is some lines; more is a mistaken path.
MAX_FILE_BYTES = 1 << 20
# No environment variable can have this name, so pydantic-settings finds none: `load_settings`
# reads them itself, because it must know which are unknown and where each value came from.
_NO_ENVIRONMENT = "\0"
# Kubernetes sets these by itself in every container beside a service with our prefix's name.
_SERVICE_LINK = re.compile(r"(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)\Z")
_SECRET_NAME = re.compile(r"(password|secret|token)\Z")
_URL_PASSWORD = re.compile(r"(://[^:/@\s]*):[^@/\s]*@")


@dataclass(frozen=True, slots=True)
class _Found:
    """A value and, for messages, where it came from."""

    value: Any
    source: str


def load_settings(
    cls: type[SettingsT],
    *,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> SettingsT:
    """Read and validate the settings of a role.

    Args:
        cls: the settings class; its `env_prefix` names the environment variables.
        file: TOML file; without one, the variable `<prefix>CONFIG` may name it.
        flags: field name to value, from the command line; None stands for a flag not given.
        environ: instead of the process's environment.

    Raises:
        ConfigError: a value is missing, unknown or out of bounds, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    from_environment = _from_environment(cls, environ)
    named_file = from_environment.pop(FILE_VARIABLE.lower(), None)
    if file is None and named_file is not None:
        file = Path(named_file.value)
    found = _from_file(cls, file) if file is not None else {}
    found = _over(cls, from_environment, found)
    found = _over(cls, _from_flags(cls, flags or {}), found)
    try:
        return cls(_env_prefix=_NO_ENVIRONMENT, **{name: f.value for name, f in found.items()})
    except ValidationError as error:
        raise ConfigError(_explain(cls, error, found)) from error


def describe(settings: BaseSettings) -> dict[str, Any]:
    """The values as plain JSON types, with whatever may be a secret masked."""
    values = settings.model_dump(mode="json")
    return {name: _redacted(name, value) for name, value in values.items()}


def variable_of(cls: type[BaseSettings], field: str) -> str:
    """The environment variable that sets a field."""
    return f"{cls.model_config.get('env_prefix', '')}{field}".upper()


def flag_of(field: str) -> str:
    """The command-line flag that sets a field."""
    return f"--{field.replace('_', '-')}"


def is_list(cls: type[BaseSettings], field: str) -> bool:
    """Whether a field holds several values: a repeatable flag, a comma-separated variable."""
    return any(
        get_origin(part) in {list, tuple, set, frozenset} for part in alternatives(cls, field)
    )


def alternatives(cls: type[BaseSettings], field: str) -> tuple[Any, ...]:
    """The types that a field may have, a union taken apart."""
    annotation = cls.model_fields[field].annotation
    if get_origin(annotation) in {Union, types.UnionType}:
        return get_args(annotation)
    return (annotation,)


def _from_environment(cls: type[BaseSettings], environ: Mapping[str, str]) -> dict[str, _Found]:
    prefix = variable_of(cls, "")
    known = {*cls.model_fields, FILE_VARIABLE.lower()}
    found = {}
    for variable, text in environ.items():
        if not prefix or not variable.upper().startswith(prefix):
            continue
        name = variable[len(prefix) :].lower()
        if name not in known:
            if _SERVICE_LINK.match(name.upper()):
                continue
            hint = _did_you_mean(name, known, render=lambda near: variable_of(cls, near))
            raise ConfigError(f"{name}: unknown setting in environment variable {variable}{hint}")
        # Compose and systemd files often pass `NAME=${NAME:-}`: empty means not set.
        if text:
            value = _parts(text) if name in cls.model_fields and is_list(cls, name) else text
            found[name] = _Found(value, f"environment variable {variable}")
    return found


def _from_file(cls: type[BaseSettings], file: Path) -> dict[str, _Found]:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"config: {file}: larger than {MAX_FILE_BYTES} bytes")
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = f"put it there, or name another by --config or {variable_of(cls, FILE_VARIABLE)}"
        raise ConfigError(f"config: {file}: {error.strerror}; {hint}") from error
    except OSError as error:
        raise ConfigError(f"config: {file}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"config: {file}: not a TOML file: {error}") from error
    for name in values:
        if name not in cls.model_fields:
            hint = _did_you_mean(name, cls.model_fields)
            raise ConfigError(f"{name}: unknown setting in file {file}{hint}")
    return {name: _Found(value, f"file {file}") for name, value in values.items()}


def _from_flags(cls: type[BaseSettings], flags: Mapping[str, Any]) -> dict[str, _Found]:
    for name in flags:
        if name not in cls.model_fields:
            raise ConfigError(f"{name}: unknown setting in flag {flag_of(name)}")
    return {
        name: _Found(value, f"flag {flag_of(name)}")
        for name, value in flags.items()
        if value is not None and value != []
    }


def _over(
    cls: type[BaseSettings], upper: Mapping[str, _Found], lower: Mapping[str, _Found]
) -> dict[str, _Found]:
    # Setting one of several that exclude each other also unsets the others below it.
    unset = {
        other
        for group in getattr(cls, "EXCLUSIVE", ())
        if any(name in upper for name in group)
        for other in group
    }
    return {name: f for name, f in lower.items() if name not in unset} | dict(upper)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _did_you_mean(name: str, known: Iterable[str], *, render: Callable[[str], str] = str) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {render(near[0])}?" if near else ""


def _explain(cls: type[BaseSettings], error: ValidationError, found: Mapping[str, _Found]) -> str:
    return "; ".join(
        _explain_one(cls, one, found)
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _explain_one(
    cls: type[BaseSettings], one: Mapping[str, Any], found: Mapping[str, _Found]
) -> str:
    message = str(one["msg"]).removeprefix("Value error, ")
    if not one["loc"]:
        return message
    name = str(one["loc"][0])
    if one["type"] == "missing":
        return f"{name}: must be set, by {flag_of(name)} or {variable_of(cls, name)}"
    source = f" (from {found[name].source})" if name in found else ""
    return f"{'.'.join(str(part) for part in one['loc'])}: {message}{source}"


def _redacted(name: str, value: Any) -> Any:
    if value is not None and _SECRET_NAME.search(name):
        return "***"
    if isinstance(value, str):
        return _URL_PASSWORD.sub(r"\1:***@", value)
    return value
