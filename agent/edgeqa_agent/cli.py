"""agent commands."""

import typer

app = typer.Typer()
