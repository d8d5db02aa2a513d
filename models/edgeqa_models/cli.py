"""`edgeqa models …`: the sub-commands of the model workshop.

Each command imports what it needs when it runs: torch and transformers take seconds, `--help`
must not.
"""

from __future__ import annotations

import typer

from edgeqa import swap_cli
from edgeqa_models import (
    cli_compare,
    cli_evaluate,
    cli_export,
    cli_package,
    cli_recover,
    cli_repository,
    cli_train,
)

app = typer.Typer(
    help="Make model packages: fine-tune, distil, export, quantise, evaluate, compare, package.",
    no_args_is_help=True,
)
for command in (
    cli_train.finetune,
    cli_train.distil,
    cli_export.export,
    cli_export.quantise,
    cli_evaluate.evaluate,
    cli_compare.compare,
    cli_package.check,
    cli_package.package,
    cli_package.show,
    cli_recover.recover,
):
    app.command()(command)
cli_repository.register(app)
app.command("list")(swap_cli.packages)
