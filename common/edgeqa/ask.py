"""`edgeqa ask` and `edgeqa context`."""

import typer

context_app = typer.Typer()


def ask() -> None:
    """Ask."""
