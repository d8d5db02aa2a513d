"""`edgeqa models repository …` and `edgeqa models publish`: signed packages for the fleet."""

# ruff: noqa: PLC0415  imports inside commands: cryptography and tuf take time, `--help` must not

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edgeqa.errors import VerificationError
from edgeqa_models.repository.environment import KEYS_VARIABLE, moment

app = typer.Typer(
    help="The repository that devices fetch packages from: static files, signed (TUF).",
    no_args_is_help=True,
)

Repository = Annotated[Path, typer.Argument(help="Folder of the repository.")]
Packages = Annotated[list[Path], typer.Argument(help="Folders that `package` made.")]
Keys = Annotated[
    Path | None,
    typer.Option(
        envvar=KEYS_VARIABLE,
        help="Folder of private keys; without it, ~/.config/edgeqa/keys.",
    ),
]
Now = Annotated[
    str | None,
    typer.Option(
        help="Sign at this time, such as 2027-01-31T12:00:00Z; without it, SOURCE_DATE_EPOCH or "
        "the clock."
    ),
]
Days = Annotated[int | None, typer.Option(min=1, max=3650, help="Days that it is valid from now.")]
Passphraseless = Annotated[
    bool, typer.Option("--no-passphrase", help="Leave new keys unencrypted.")
]
RoleName = Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")]


def register(models: typer.Typer) -> None:
    """Add the commands of this module to `edgeqa models`."""
    models.add_typer(app, name="repository")
    models.command()(publish)


@app.command()
def init(
    repository: Repository,
    keys: Keys = None,
    root_keys: Annotated[int, typer.Option(min=1, max=20, help="Root keys to make.")] = 1,
    root_threshold: Annotated[int, typer.Option(min=1, help="Of them, how many must sign.")] = 1,
    targets_keys: Annotated[int, typer.Option(min=1, max=20, help="Targets keys to make.")] = 1,
    targets_threshold: Annotated[int, typer.Option(min=1, help="Of them, who must sign.")] = 1,
    root_days: Days = None,
    targets_days: Days = None,
    snapshot_days: Days = None,
    timestamp_days: Days = None,
    no_passphrase: Passphraseless = False,
    now: Now = None,
) -> None:
    """Make keys and an empty repository."""
    from edgeqa_models.repository.creation import Plan, create
    from edgeqa_models.repository.invocation import days_given, open_keys
    from edgeqa_models.repository.layout import Layout
    from edgeqa_models.repository.roles import DEFAULT_DAYS, Role

    days = {**DEFAULT_DAYS, **days_given(root_days, targets_days, snapshot_days, timestamp_days)}
    sizes = {
        Role.ROOT: (root_keys, root_threshold),
        Role.TARGETS: (targets_keys, targets_threshold),
    }
    plans = {role: Plan(*sizes.get(role, (1, 1)), days[role]) for role in Role}
    folder = open_keys(keys, repository)
    layout = Layout(repository)
    state, files = create(
        layout, folder, plans, now=moment(now, os.environ), encrypt=not no_passphrase
    )
    for role in Role:
        typer.echo(
            f"{role:<10} expires {state.published(role).expires:%Y-%m-%d}, "
            f"{plans[role].threshold} of {plans[role].keys} key(s) must sign"
        )
    for file in files.values():
        typer.echo(f"key        {file}")
    typer.echo(
        f"\nGive every device {layout.root(1)}: it is what they trust\n"
        f"(sha256:{state.first_root_sha256}).\n"
        "Back the keys up, and keep those of the root away from this machine."
    )


@app.command()
def key(
    role: Annotated[str, typer.Argument(help="Role that the key is meant for; names its file.")],
    keys: Keys = None,
    no_passphrase: Passphraseless = False,
) -> None:
    """Make a key for somebody's repository and print its public part, for `rotate --add`."""
    from securesystemslib.signer import CryptoSigner

    from edgeqa_models.repository.invocation import open_keys, role_named
    from edgeqa_models.repository.keys import public_pem

    signer = CryptoSigner.generate_ed25519()
    file = open_keys(keys, None).store(signer, role=role_named(role), encrypt=not no_passphrase)
    typer.echo(public_pem(signer.public_key), nl=False)
    typer.echo(f"key {signer.public_key.keyid[:8]}: {file}; keep it, hand on the above", err=True)


@app.command()
def add(repository: Repository, packages: Packages) -> None:
    """Verify packages and stage them for `sign`; needs no key."""
    from edgeqa_models.repository.layout import Layout
    from edgeqa_models.repository.publication import add as run

    new = run(Layout(repository), packages)
    typer.echo("staged; `edgeqa models repository sign` publishes" if new else "all there already")


@app.command()
def remove(
    repository: Repository,
    name: Annotated[str, typer.Argument(help="Of the package.")],
    version: Annotated[str, typer.Argument(help="MAJOR.MINOR.PATCH.")],
) -> None:
    """Stage the withdrawal of a package for `sign`: devices will not be offered it any more."""
    from edgeqa_models.repository.layout import Layout
    from edgeqa_models.repository.publication import withdraw

    withdraw(Layout(repository), name, version)
    typer.echo("staged; `edgeqa models repository sign` withdraws it")


@app.command()
def sign(
    repository: Repository,
    keys: Keys = None,
    yes: Annotated[bool, typer.Option("--yes", help="Sign what is staged without asking.")] = False,
    role: Annotated[
        list[str] | None, typer.Option(help="Use keys of this role only; may be repeated.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Also what is not due yet.")] = False,
    restored: Annotated[
        bool,
        typer.Option(
            "--restored", help="The repository is a backup: go on above what devices have seen."
        ),
    ] = False,
    root_days: Days = None,
    targets_days: Days = None,
    snapshot_days: Days = None,
    timestamp_days: Days = None,
    now: Now = None,
) -> None:
    """Sign what is staged, renew what is due, and publish what is complete.

    With nothing staged it makes a new timestamp, and renews whatever has less than half of its
    time left: run it daily by cron. There, without a terminal and without --yes, what is staged
    is left unsigned.
    """
    from edgeqa_models.repository.invocation import days_given, open_bench, role_named
    from edgeqa_models.repository.publication import sign as run
    from edgeqa_models.repository.roles import Role
    from edgeqa_models.repository.signing import Order
    from edgeqa_models.repository.terminal import approve, show_done

    order = Order(
        now=moment(now, os.environ),
        days=days_given(root_days, targets_days, snapshot_days, timestamp_days),
        roles=frozenset(role_named(one) for one in role) if role else frozenset(Role),
        renew=renew,
    )
    bench = open_bench(repository, keys, restored=restored)
    show_done(run(bench, order, approve=lambda lines: approve(lines, yes=yes)), order.now)


def publish(repository: Repository, packages: Packages, keys: Keys = None, now: Now = None) -> None:
    """Add packages to a repository and sign them: what devices can fetch from then on.

    The root is not signed. Exit code 5 if signatures are missing afterwards.
    """
    from edgeqa_models.repository.invocation import open_bench
    from edgeqa_models.repository.publication import publish as run
    from edgeqa_models.repository.roles import Role
    from edgeqa_models.repository.signing import Order
    from edgeqa_models.repository.terminal import show_done

    order = Order(now=moment(now, os.environ))
    done = run(open_bench(repository, keys), packages, order)
    if done.outcome is None:
        typer.echo("published already, with the same bytes")
        return
    show_done(done, order.now)
    if Role.TARGETS in done.outcome.staged:
        raise VerificationError(
            "not published yet: signatures are missing", code="signature_missing"
        )


@app.command()
def rotate(
    repository: Repository,
    role: RoleName,
    keys: Keys = None,
    replace: Annotated[
        list[str] | None, typer.Option(help="Key id to exchange for a new key; may be repeated.")
    ] = None,
    remove_key: Annotated[
        list[str] | None, typer.Option("--remove", help="Key id to drop; may be repeated.")
    ] = None,
    add_key: Annotated[
        list[Path] | None,
        typer.Option("--add", help="Public key that `key` printed; may be repeated."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="How many of the role's keys must sign.")
    ] = None,
    no_passphrase: Passphraseless = False,
    now: Now = None,
) -> None:
    """Change the keys of a role; without options, all of them for new ones."""
    from edgeqa_models.repository.invocation import open_bench, role_named
    from edgeqa_models.repository.keys import read_public_key
    from edgeqa_models.repository.publication import rotate as run
    from edgeqa_models.repository.rotation import KeyChange, find_key
    from edgeqa_models.repository.signing import Order
    from edgeqa_models.repository.state import load
    from edgeqa_models.repository.terminal import show_done

    bench = open_bench(repository, keys)
    root = load(bench.layout).root.signed
    name = role_named(role)
    swapped = [find_key(root, name, text) for text in replace or ()]
    dropped = [find_key(root, name, text) for text in remove_key or ()]
    if not (swapped or dropped or add_key or threshold):
        swapped = list(root.roles[name].keyids)
    change = KeyChange(
        role=name,
        remove=[*swapped, *dropped],
        add=[read_public_key(path) for path in add_key or ()],
        threshold=threshold,
    )
    order = Order(now=moment(now, os.environ))
    done, files = run(bench, change, order, generate=len(swapped), encrypt=not no_passphrase)
    for file in files.values():
        typer.echo(f"new key {file}")
    show_done(done, order.now)


@app.command()
def status(
    repository: Repository,
    keys: Keys = None,
    within: Annotated[
        int, typer.Option(min=0, help="Complain of what expires within so many days.")
    ] = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and compare its digest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    now: Now = None,
) -> None:
    """Show roles, packages and what waits for signatures.

    Exit code 5 if something has expired, lacks signatures or is damaged.
    """
    from edgeqa_models.repository.invocation import open_keys
    from edgeqa_models.repository.layout import Layout
    from edgeqa_models.repository.report import report
    from edgeqa_models.repository.state import load
    from edgeqa_models.repository.terminal import show_report

    layout = Layout(repository)
    made = report(
        layout,
        load(layout),
        # Not SOURCE_DATE_EPOCH: whether devices refuse it depends on the clock.
        now=moment(now, {}),
        within_days=within,
        keys=open_keys(keys, repository).files(),
        content=verify,
    )
    if as_json:
        typer.echo(made.model_dump_json(indent=2))
    else:
        show_report(made)
    if made.problems:
        more = f" (and {len(made.problems) - 1} more)" if len(made.problems) > 1 else ""
        raise VerificationError(f"{made.problems[0].message}{more}", code=made.problems[0].code)
