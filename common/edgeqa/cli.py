"""The `edgeqa` command: its root, its error handling and the sub-commands that roles add.

A role registers a typer app, or one function that becomes one command, under the entry-point group
`edgeqa.commands`. One that is not there to import is left out of `--help`, not an error.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys

import typer

from edgeqa.errors import EdgeqaError

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
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda e: e.name):
        app.add_typer(entry.load(), name=entry.name)
    return app


def main() -> None:
    """Run the command; the one place that turns errors into messages and exit codes."""
    try:
        build_app()()
    except EdgeqaError as error:
        print(f"edgeqa: {error} [{error.code}]", file=sys.stderr)  # noqa: T201  the terminal
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
