"""A role's service: put in place, brought up, and taken away again.

An installation that fails leaves what was there: files, user, what ran. One that finds everything
as it should be changes nothing. The unit names the program, so another version is another program
in the same unit, and the old one comes back with the old unit.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from edgeqa.installing import checks
from edgeqa.installing.errors import InstallError
from edgeqa.installing.place import Place
from edgeqa.installing.steps import File, Folder, Gone, Link, Owned, Say, Step, SystemUser, take
from edgeqa.installing.systemd import BACKOFF_SINCE, Systemd, version
from edgeqa.installing.undo import Undo, interruptible

_COMMAND = Path("/usr/local/bin/edgeqa")
# Steps from 5 s to 5 min where systemd can; else an interval between that spares broker and device.
_BACKOFF = "RestartSec=5\nRestartSteps=6\nRestartMaxDelaySec=300"
_NO_BACKOFF = "RestartSec=30"


@dataclass(frozen=True, slots=True)
class Service:
    """What a role installs.

    Attributes:
        name: of the unit, without its suffix.
        user: runs it, and has its state.
        config: folder of its settings.
        state: folder of its state.
        unit: the unit's file, with `$program`, `$version` and `$restart`.
        slots: environments that its versions take turns in.
        least_mib: room that it needs at first.
        imports: libraries that it does not run without.
        shared: folders that it shares with a group of another program, made where that is there.
        wrapper: a script that runs the program as the service's user with its settings, and what is
            in it, with `$program`.
    """

    name: str
    user: str
    config: Path
    state: Path
    unit: Template
    slots: tuple[Path, Path]
    least_mib: int
    imports: tuple[str, ...] = ()
    shared: tuple[tuple[Path, Owned], ...] = ()
    wrapper: tuple[Path, Template] | None = None

    def systemd(self, place: Place) -> Systemd:
        """Its unit at a place."""
        return Systemd(place, f"{self.name}.service")

    def owns(self, program: Path) -> bool:
        """Whether a program is of one of its environments."""
        return any(program.is_relative_to(slot) for slot in self.slots)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An installation that is asked for.

    Attributes:
        place: where.
        program: the `edgeqa` that the unit runs, in the installed system.
        files: content by name, for the folder of settings; None: it stays as it is.
        secrets: of those, what only the service's user may read.
        known: names of files of an earlier installation, which go if they are not in `files`.
        start: whether to start it, where that is possible.
        dry_run: only tell.
    """

    place: Place
    program: Path
    files: dict[str, bytes] | None = None
    secrets: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    start: bool = True
    dry_run: bool = False


def check(service: Service, wanted: Wanted, say: Say) -> None:
    """Everything that can be known to fail, before anything is changed.

    Raises:
        InstallError: it would.
    """
    place = wanted.place
    checks.check_rights(place)
    for found in (
        checks.check_systemd(place),
        checks.check_program(place, wanted.program),
        checks.check_python(place, wanted.program),
        checks.check_libraries(place, wanted.program, service.imports),
        checks.check_room(place, service.state, least_mib=service.least_mib),
    ):
        say("found", found.what)
    if note := checks.memory_limit_note(place):
        say("note", note)


def install(service: Service, wanted: Wanted, say: Say) -> None:
    """Put a service in place and, on this machine, bring it up.

    Raises:
        InstallError: all of it was taken back; with why.
    """
    unit = service.systemd(wanted.place)
    told = functools.partial(say, "undone", "all of it: everything is as it was")
    with (
        nullcontext() if wanted.dry_run else _alone(wanted.place),
        interruptible(),
        Undo(told) as undo,
    ):
        was_active = unit.active()
        restarted: list[bool] = []  # whether what ran before was ended
        if not wanted.dry_run:
            undo.add(unit.unit, lambda: _start_again(unit, say) if restarted else None)
            undo.add(unit.unit, unit.reload)
        changed = take(_steps(service, wanted), undo=undo, say=say, dry_run=wanted.dry_run)
        _enable(unit, undo, say, dry_run=wanted.dry_run)
        if not (wanted.place.live and wanted.start):
            say("as it is", "not started")
        elif was_active and not changed:
            say("as it is", f"{unit.unit} runs")
        elif wanted.dry_run:
            say("would start", f"{unit.unit}, and wait until it is ready")
        else:
            undo.add(unit.unit, unit.stop)
            restarted += [True] if was_active else []
            begun = time.monotonic()
            unit.restart()
            say("start", f"{unit.unit}, ready after {time.monotonic() - begun:.1f} s")


def _start_again(unit: Systemd, say: Say) -> None:
    """What ran before. That it cannot just now is no failure of taking back: it tries on."""
    try:
        unit.restart()
    except InstallError as error:
        say("note", f"what ran before is back and does not come up either: {error}")


def uninstall(service: Service, place: Place, say: Say, *, purge: bool, dry_run: bool) -> None:
    """Stop a service and take it away; with `purge` its settings, state and user too.

    Raises:
        InstallError: with what could not be done; the same command again goes on from there.
    """
    unit = service.systemd(place)
    told = functools.partial(say, "undone", "what was removed is back")
    with nullcontext() if dry_run else _alone(place), interruptible(), Undo(told) as undo:
        if unit.active():
            say("would stop" if dry_run else "stop", unit.unit)
            if not dry_run:
                unit.stop()
        if place.at(unit.file).exists() and unit.enabled():
            say("would disable" if dry_run else "disable", unit.unit)
            if not dry_run:
                unit.disable()
        gone: list[Step] = [Gone(place, unit.file)]
        if service.wrapper is not None:
            gone.append(Gone(place, service.wrapper[0]))
        if place.at(_COMMAND).is_symlink() and service.owns(place.at(_COMMAND).readlink()):
            gone.append(Gone(place, _COMMAND))
        take(gone, undo=undo, say=say, dry_run=dry_run, settled="not there")
        if not dry_run:
            unit.reload()
        if purge:
            _purge(service, place, say, dry_run=dry_run)


def _steps(service: Service, wanted: Wanted) -> Iterator[Step]:
    place = wanted.place
    folder = Owned("root", service.user, 0o750)
    yield SystemUser(place, service.user, service.state)
    yield Folder(place, service.config, folder)
    yield Folder(place, service.state, Owned(service.user, service.user, 0o700))
    for path, owned in service.shared:
        if place.group_id(owned.group) is not None:
            yield Folder(place, path, owned)
    if wanted.files is not None:
        # Settings last: they name the others.
        for name in sorted(wanted.files, key=lambda one: (one.endswith(".toml"), one)):
            secret = Owned(service.user, service.user, 0o600)
            owner = secret if name in wanted.secrets else replace(folder, mode=0o640)
            yield File(place, service.config / name, wanted.files[name], owner)
        for name in sorted(wanted.known - wanted.files.keys()):
            if place.at(service.config / name).exists():
                yield Gone(place, service.config / name)
    restart = _BACKOFF if place.live and version() >= BACKOFF_SINCE else _NO_BACKOFF
    text = service.unit.substitute(
        program=wanted.program, restart=restart, version=_version_of(place, wanted.program)
    )
    yield File(place, service.systemd(place).file, text.encode(), Owned())
    yield Link(place, _COMMAND, wanted.program, service.owns)
    if service.wrapper is not None:
        path, script = service.wrapper
        content = script.substitute(program=wanted.program).encode()
        yield File(place, path, content, Owned(mode=0o755))


def _version_of(place: Place, program: Path) -> str:
    """Of the EdgeQA beside a program. It stands in the unit, so another one is a change."""
    libraries = place.at(program.parents[1] / "lib")
    found = sorted(libraries.glob("python3*/site-packages/edgeqa-*.dist-info"))
    return found[-1].name.split("-")[1].removesuffix(".dist") if found else "unknown"


def _enable(unit: Systemd, undo: Undo, say: Say, *, dry_run: bool) -> None:
    if dry_run:
        if not unit.enabled():
            say("would enable", unit.unit)
        return
    unit.reload()
    if unit.enabled():
        say("as it is", f"{unit.unit} starts at boot")
        return
    undo.add(unit.unit, unit.disable)
    unit.enable()
    say("enable", f"{unit.unit}, at boot")


def _purge(service: Service, place: Place, say: Say, *, dry_run: bool) -> None:
    dropins = service.systemd(place).file.with_suffix(".service.d")
    shared = [path for path, _ in service.shared]
    for folder in (service.config, service.state, dropins, *shared):
        if place.at(folder).is_dir():
            say("would remove" if dry_run else "remove", f"{folder}/ and all in it")
            if not dry_run:
                shutil.rmtree(place.at(folder))
    user = SystemUser(place, service.user, service.state)
    if user.needed() is None:
        say("would remove" if dry_run else "remove", user.what)
        if not dry_run:
            user.remove()


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """No two installations at once at one place.

    Raises:
        InstallError: another one is under way.
    """
    handle = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InstallError(
                f"another installation is under way at {place.root}; try again when it is done",
                code="install_under_way",
            ) from error
        yield
    finally:
        os.close(handle)
