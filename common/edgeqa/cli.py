"""The `edgeqa` command: its root, its error handling and the sub-commands that roles add.

A role registers a typer app, or one function that becomes one command, under the entry-point group
`edgeqa.commands`. One that is not there to import is left out of `--help`, not an error.
"""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Annotated

import typer

from edgeqa import ask, evaluate_cli, swap_cli
from edgeqa.errors import EdgeqaError
from edgeqa.show import clean

GROUP = "edgeqa.commands"


def build_app() -> typer.Typer:
    """The root command with the sub-commands of every installed role."""
    app = typer.Typer(
        help="Question answering on fleets of small devices, over MQTT.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Tables would cut the long names of environment variables on a narrow terminal.
        rich_markup_mode=None,
    )
    app.callback()(_root)
    app.command("ask")(ask.ask)
    app.add_typer(ask.context_app, name="context")
    swap_cli.register(app)
    evaluate_cli.register(app)
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda e: e.name):
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            if error.name and error.name.partition(".")[0] == entry.module.partition(".")[0]:
                continue
            raise
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


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
    try:
        build_app()()
    except EdgeqaError as error:
        # Devices and brokers have a say in these words.
        line = clean(f"edgeqa: {error} [{error.code}]")
        print(line, file=sys.stderr)  # noqa: T201  the terminal
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
