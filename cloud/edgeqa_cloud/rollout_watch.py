"""`edgeqa rollout watch`: a rollout as it goes on, until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from edgeqa.errors import EdgeqaError, ExitCode
from edgeqa_cloud import words
from edgeqa_cloud.api_settings import ApiSettings
from edgeqa_cloud.rollout.states import GateStatus, RolloutState
from edgeqa_cloud.rollout.views import AuditEntry, RolloutView
from edgeqa_cloud.rollout_changes import Changes
from edgeqa_cloud.rollout_client import ApiClient
from edgeqa_cloud.rollout_show import clock, counted_states, rollout_lines, title
from edgeqa_cloud.rollout_tables import entry_line
from edgeqa_cloud.screen import print_lines, width_of

# Of the audit log, below the picture.
_SHOWN_ENTRIES = 8
# In one look; of a rollout where thousands of devices fail at once, the rest is counted.
_READ_ENTRIES = 50
# A picture holds times that count down.
_REDRAW_S = 1.0
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class How:
    """How a rollout is watched.

    Attributes:
        as_json: print the whole of it at each change, one JSON object a line.
        until_paused: end also when it is paused.
    """

    as_json: bool = False
    until_paused: bool = False


@dataclass(slots=True)
class _Seen:
    view: RolloutView
    entries: list[AuditEntry]
    read_at: float
    trouble: str | None = None
    printed: int = 0
    last_line: str = field(default="")


def watch(
    settings: ApiSettings,
    rollout: str,
    console: Console,
    how: How,
    *,
    now_ms: Callable[[], int],
    monotonic: Callable[[], float] = time.monotonic,
) -> int:
    """Show a rollout until it is over, or until Ctrl-C.

    Returns:
        The exit code: 0 completed, 6 stopped by a breach, 5 stopped by a person, 130 Ctrl-C.

    Raises:
        EdgeqaError: it cannot be read at the start, or never again.
    """
    watcher = _Watcher(
        settings, rollout, console=console, how=how, now_ms=now_ms, monotonic=monotonic
    )
    try:
        return watcher.run()
    except KeyboardInterrupt:
        if not how.as_json:
            print_lines(
                console,
                [Text(f"{rollout} goes on; watch it again: edgeqa rollout watch {rollout}")],
            )  # fmt: skip
        return _INTERRUPTED


def ending(view: RolloutView) -> ExitCode:
    """How a watch ends with a rollout that is over, or paused."""
    if view.state is RolloutState.COMPLETED:
        return ExitCode.OK
    breached = any(gate.status is GateStatus.BREACHED for gate in view.gates)
    return ExitCode.GATE if breached or view.code == "gate_breached" else ExitCode.REFUSED


class _Watcher:
    def __init__(
        self,
        settings: ApiSettings,
        rollout: str,
        *,
        console: Console,
        how: How,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._rollout = rollout
        self._console = console
        self._how = how
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._live = console.is_terminal and not how.as_json

    def run(self) -> int:
        with ApiClient(settings=self._settings) as client:
            seen = _Seen(*self._read(client), self._monotonic())
            with (
                Changes(settings=self._settings, rollout=self._rollout) as changes,
                self._drawing() as draw,
            ):
                while True:
                    draw(seen)
                    if self._over(seen.view):
                        break
                    self._wait(client, changes, seen)
        if self._live:
            print_lines(self._console, self._picture(seen))
        if not self._how.as_json:
            print_lines(self._console, [_last_words(seen.view)])
        return ending(seen.view)

    def _over(self, view: RolloutView) -> bool:
        return view.state.final or (self._how.until_paused and view.state is RolloutState.PAUSED)

    def _wait(self, client: ApiClient, changes: Changes, seen: _Seen) -> None:
        """Until something may have changed, and read it; or until it is time to draw again."""
        left_s = seen.read_at + changes.look_every_s - self._monotonic()
        heard = changes.wait(max(0.0, min(left_s, _REDRAW_S) if self._live else left_s))
        if not heard and self._monotonic() < seen.read_at + changes.look_every_s:
            return
        try:
            seen.view, seen.entries = self._read(client)
            seen.trouble = None
        except EdgeqaError as error:
            if error.exit_code is not ExitCode.UNREACHABLE:
                raise
            seen.trouble = f"{error}; trying again"
        seen.read_at = self._monotonic()

    def _read(self, client: ApiClient) -> tuple[RolloutView, list[AuditEntry]]:
        """The log first: what it tells has then happened to the rollout that is shown below."""
        entries = self._entries(client)
        view = client.show(self._rollout)
        if self._over(view):
            entries = self._entries(client)  # all of it, as it is not read again
        return view, entries

    def _entries(self, client: ApiClient) -> list[AuditEntry]:
        if self._how.as_json:
            return []
        return client.audit(self._rollout, {"limit": _READ_ENTRIES}).entries

    @contextmanager
    def _drawing(self) -> Iterator[Callable[[_Seen], None]]:
        if not self._live:
            yield self._print
            return
        with Live(console=self._console, screen=True, auto_refresh=False) as live:

            def draw(seen: _Seen) -> None:
                lines = self._picture(seen)
                live.update(Group(*lines[: self._console.height]), refresh=True)

            yield draw

    def _picture(self, seen: _Seen) -> list[Text]:
        lines = list(rollout_lines(seen.view, now_ms=self._now_ms(), width=width_of(self._console)))
        if seen.entries:
            lines.append(Text())
        for entry in reversed(seen.entries[:_SHOWN_ENTRIES]):
            line = entry_line(entry)
            if self._console.is_terminal:
                line.truncate(self._console.width, overflow="ellipsis")
            lines.append(line)
        if seen.trouble is not None:
            lines.insert(
                1, Text(words.said(seen.trouble, most=words.SENTENCE_CHARS), style="bold red")
            )
        return lines

    def _print(self, seen: _Seen) -> None:
        """What is new since the last time, one line each."""
        if self._how.as_json:
            text = seen.view.model_dump_json()
            if text != seen.last_line:
                print_lines(self._console, [Text(text)])
            seen.last_line = text
        else:
            print_lines(self._console, list(self._news(seen)))
        self._console.file.flush()

    def _news(self, seen: _Seen) -> Iterator[Text]:
        new = [entry for entry in reversed(seen.entries) if entry.entry > seen.printed]
        if new:
            if len(new) == _READ_ENTRIES and new[0].entry > seen.printed + 1:
                yield Text("…", style="dim")
            seen.printed = new[-1].entry
        yield from map(entry_line, new)
        line = seen.trouble or _in_one_line(seen.view)
        if line != seen.last_line:
            yield Text(clock(self._now_ms(), date=False), style="dim").append(
                f"  {words.said(line, most=words.SENTENCE_CHARS)}", style="not dim"
            )
        seen.last_line = line


def _in_one_line(view: RolloutView) -> str:
    state = view.state.value.replace("_", " ")
    # Without figures that count down: each would be a line of its own.
    stage = f"stage {view.stage + 1}/{view.stages} {view.stage_list[view.stage].state}"
    return f"{state}, {stage}: {counted_states(view.states)}"


def _last_words(view: RolloutView) -> Text:
    line = title(view)
    line.append(f"  {counted_states(view.states)}", style="not bold")
    return line
