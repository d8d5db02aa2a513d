"""The `edgeqa` command: its root, its error handling and the sub-commands that roles add.

A role registers a typer app, or one function that becomes one command, under the entry-point group
`edgeqa.commands`. One that is not there to import is left out of `--help`, not an error.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from typing import Annotated

import typer

from edgeqa import holding
from edgeqa.errors import ConfigError, EdgeqaError
from edgeqa.installation import installation_error, is_broken
from edgeqa.lean import import_structlog

GROUP = "edgeqa.commands"


def build_app(wanted: str | None = None) -> typer.Typer:
    """The root command with the sub-commands of every installed role.

    Args:
        wanted: the sub-command that is called; if it is a role's, nothing else is imported: what an
            agent does not use would stay in its memory for as long as it runs.
    """
    app = typer.Typer(
        help="Question answering on fleets of small devices, over MQTT.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Tables would cut the long names of environment variables on a narrow terminal.
        rich_markup_mode=None,
    )
    app.callback()(_root)
    entries = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda e: e.name)
    called = [entry for entry in entries if entry.name == wanted]
    if not called:
        _add_own(app)
    for entry in called or entries:
        _add(app, entry)
    return app


def _add_own(app: typer.Typer) -> None:
    from edgeqa import ask, evaluate_cli, swap_cli  # noqa: PLC0415  see `build_app`

    app.command("ask")(ask.ask)
    app.add_typer(ask.context_app, name="context")
    swap_cli.register(app)
    evaluate_cli.register(app)


def _add(app: typer.Typer, entry: importlib.metadata.EntryPoint) -> None:
    try:
        command = entry.load()
    except ImportError as error:
        if _top(error.name) != _top(entry.module):
            _add_missing(app, entry, error)
        elif not isinstance(error, ModuleNotFoundError):
            raise  # a bug
        return  # the role is not installed at all
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=entry.name)
    else:
        app.command(entry.name)(command)


def _add_missing(
    app: typer.Typer, entry: importlib.metadata.EntryPoint, error: ImportError
) -> None:
    missing = installation_error(error) if is_broken(error) else _missing(entry, error)

    @app.command(
        entry.name,
        help="Its libraries are not installed.",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def _say() -> None:
        raise missing


def _missing(entry: importlib.metadata.EntryPoint, error: ImportError) -> ConfigError:
    extra = _top(entry.module).removeprefix("edgeqa_")
    return ConfigError(
        f"`edgeqa {entry.name}` needs {_top(error.name)}, which is not installed: "
        f"pip install 'edgeqa[{extra}]'",
        code="extra_missing",
    )


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("edgeqa"))
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Question answering on fleets of small devices, over MQTT."""
    del version


def main() -> None:
    """Run the command; the one place that turns errors into messages and exit codes."""
    # Since 1.32 onnxruntime reports to its maker unless told not to. Source: its Privacy.md.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    words = sys.argv[1:]
    wanted = next((word for word in words if not word.startswith("-")), None)
    import_structlog()
    try:
        _run(wanted)
    except EdgeqaError as error:
        from edgeqa.show import clean  # noqa: PLC0415  with tables and colours

        # Devices and brokers have a say in these words.
        line = clean(f"{error} [{error.code}]")
        print(f"edgeqa: {line}", file=sys.stderr)  # noqa: T201  the terminal
        if holding.holds(words, error.exit_code):
            holding.hold(words, line)
        sys.exit(error.exit_code)
    except SystemExit as end:  # typer's, which has said what is wrong
        if isinstance(end.code, int) and holding.holds(words, end.code):
            holding.hold(words, "the command line is wrong; see the log")
        raise


def _run(wanted: str | None) -> None:
    try:
        build_app(wanted)()
    except ImportError as error:
        # Roles import what is large when they need it.
        if is_broken(error):
            raise installation_error(error) from error
        for entry in importlib.metadata.entry_points(group=GROUP):
            if entry.name == wanted and not _top(error.name).startswith("edgeqa"):
                raise _missing(entry, error) from error
        raise


if __name__ == "__main__":
    main()
