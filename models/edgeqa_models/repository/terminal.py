"""What the repository's commands print and ask."""

from __future__ import annotations

import sys
from datetime import datetime

import typer

from edgeqa.errors import VerificationError
from edgeqa_models.repository.keys import SHORT_ID_CHARS
from edgeqa_models.repository.publication import Done
from edgeqa_models.repository.report import RepositoryReport, RoleReport
from edgeqa_models.repository.roles import Role


def ask(text: str, twice: bool) -> str:
    """Prompt for a secret, `twice` for a new one."""
    return str(typer.prompt(text, hide_input=True, confirmation_prompt=twice, err=True))


def approve(lines: list[str], *, yes: bool) -> bool:
    """Show what is staged and ask whether to sign it; without a terminal, do not."""
    typer.echo("staged:")
    for line in lines:
        typer.echo(f"  {line}")
    if yes:
        return True
    if sys.stdin.isatty():
        return bool(typer.confirm("Sign this?"))
    typer.echo("left unsigned, as nobody can be asked; --yes signs it")
    return False


def show_done(done: Done, now: datetime) -> None:
    """Print what became public and what is missing.

    Raises:
        VerificationError: `metadata_expired`, devices refuse the repository as it is.
    """
    outcome = done.outcome
    for document in outcome.publish if outcome else ():
        typer.echo(
            f"published {document.role} {document.version}, expires {document.expires:%Y-%m-%d}"
        )
    for one in outcome.waiting if outcome else ():
        keys = ", ".join(keyid[:SHORT_ID_CHARS] for keyid in one.keyids)
        typer.echo(
            f"waiting   {one.role} {one.version}: {one.missing} more signature(s), by {keys}"
        )
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    for role in Role:
        document = done.state.published(role)
        if now >= document.expires:
            raise VerificationError(
                f"{role} {document.version} expired on {document.expires:%Y-%m-%d}: devices refuse "
                f"the repository until it is signed with a key of {role}",
                code="metadata_expired",
            )
        if document.is_due(now):
            typer.echo(
                f"note: {role} expires on {document.expires:%Y-%m-%d}, sign with a key of {role}",
                err=True,
            )


def show_report(report: RepositoryReport) -> None:
    """Print the state of a repository."""
    typer.echo(f"root of trust  {report.root_of_trust}")
    typer.echo(f"               sha256:{report.root_of_trust_sha256}")
    for role in report.roles:
        typer.echo(_role_line(role))
    for package in report.packages:
        typer.echo(
            f"package        {package.name} {package.version}  {package.architecture} "
            f"{package.precision}  {package.bytes:,} bytes  {package.digest}"
        )
    if not report.packages:
        typer.echo("package        none")
    for label, digest in report.withdrawn.items():
        typer.echo(f"withdrawn      {label.replace('/', ' ')}  {digest}")
    for line in report.changes:
        typer.echo(f"staged         {line}")
    for problem in report.problems:
        typer.echo(f"PROBLEM        {problem.message} [{problem.code}]")


def _role_line(role: RoleReport) -> str:
    marks = [
        key.id[:SHORT_ID_CHARS] + ("" if key.signed else " (not signed)") + (" here" * key.here)
        for key in role.keys
    ]
    signed = sum(key.signed for key in role.keys)
    return (
        f"{role.role:<10} {role.version:>3}  expires {role.expires:%Y-%m-%d} "
        f"({role.days_left} days)  {signed} signed, {role.threshold} needed  {', '.join(marks)}"
    )
