"""All that a device tells the cloud: records from the outbox, and the heartbeat, in one thread.

The network thread and those who append only wake it; it alone waits for the disk.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from structlog.typing import FilteringBoundLogger

from edgeqa.courier import Courier, Link
from edgeqa.errors import BrokerError
from edgeqa.outbox import Bounds, Outbox, OutboxFile
from edgeqa.telemetry_messages import ResendCommand
from edgeqa.uptime import uptime_clock
from edgeqa_agent.commands import Handler
from edgeqa_agent.heartbeat import Heart
from edgeqa_agent.settings import AgentSettings

OUTBOX_FILE = "outbox.sqlite"
# Nothing is due: look anyway, in case a wake-up was missed.
_LOOK_EVERY_S = 60.0
_AFTER_BUG_S = 5.0
# Heartbeats that may wait for an acknowledgement: paho keeps and repeats each.
_MOST_BEATS = 3
_JOIN_S = 5.0
_POLL_S = 0.02


def outbox_of(settings: AgentSettings, *, boot_id: str, log: FilteringBoundLogger) -> Outbox:
    """An agent's outbox; its file is opened when it is first needed."""
    return Outbox(
        file=OutboxFile(settings.resolved_state_dir() / OUTBOX_FILE, log=log),
        device=settings.device,
        boot_id=boot_id,
        uptime_ms=uptime_clock(),
        bounds=Bounds(
            max_rows=settings.outbox_max_rows,
            max_bytes=settings.outbox_max_mb << 20,
            keep_sent_s=settings.outbox_keep_sent_s,
        ),
        log=log,
    )


def resend_handler(outbox: Outbox) -> Handler:
    """How `commands/resend` is carried out."""

    def act(command: ResendCommand) -> dict[str, Any]:
        queued, missing = outbox.resend(command.ranges)
        return {"queued": queued, "missing": missing}

    return Handler(ResendCommand, act)


class Outbound:
    """Courier and heartbeat of an outbox.

    Args:
        outbox: usable before `start`; closed by `stop`.
        link: where all goes.
        beat_s: between heartbeats.
        log: for what goes wrong.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        link: Link,
        beat_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self.outbox = outbox
        self._link = link
        self._heart = Heart(outbox=outbox, interval_s=beat_s, log=log)
        self._log = log
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._connected = threading.Event()
        self._courier = Courier(outbox=outbox, link=link, wake=self._woken.set, log=log)
        self._thread = threading.Thread(target=self._run, name="outbound", daemon=True)
        self._lock = threading.Lock()
        self._turns = 0
        self._beats = 0
        self._unheard = False

    @property
    def stalled(self) -> bool:
        """Whether records wait because the last try came to nothing."""
        return self._courier.stalled

    def start(self) -> None:
        """Begin to send what waits, as soon as there is a connection."""
        self._thread.start()

    def connected(self) -> None:
        """A connection stands; called in the network thread."""
        self._connected.set()
        self._woken.set()

    def flush(self, *, timeout_s: float) -> bool:
        """Wait until the broker has what waits; False if it does not get it in time, or not now."""
        deadline = time.monotonic() + timeout_s
        # The turn under way may have looked before the last record was written; the next has not.
        enough = self._turns + 2
        self._woken.set()
        while self._turns < enough or not self._courier.idle:
            if not self._link.connected or time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
            if self._turns < enough:
                self._woken.set()
        return self.outbox.state().waiting == 0

    def stop(self) -> None:
        """Note what the broker has, and close the outbox; idempotent."""
        self._ending.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        self.outbox.close()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._ending.is_set():
            self._woken.wait(wait_s)
            self._woken.clear()
            try:
                wait_s = self._turn()
                self._turns += 1
            except Exception:  # noqa: BLE001  a thread's edge; logged with its traceback
                self._log.exception("outbound_failed")
                self._ending.wait(_AFTER_BUG_S)
        try:
            self._courier.step()  # the link is down: it notes what arrived, and sends nothing
        except Exception:  # noqa: BLE001  the same
            self._log.exception("outbound_failed")

    def _turn(self) -> float:
        """One look at what is due; seconds until the next."""
        if self._connected.is_set():
            self._connected.clear()
            self._heart.connected()
            self._courier.connected()
        # Where a broker does not answer, the next answer wakes us.
        may_beat = self._link.connected and self._beats < _MOST_BEATS
        if may_beat and self._heart.wait_s() == 0.0:
            self._beat()
        wait_s = self._courier.step()
        due_s = self._heart.wait_s() if may_beat else _LOOK_EVERY_S
        return min(_LOOK_EVERY_S, due_s, _LOOK_EVERY_S if wait_s is None else wait_s)

    def _beat(self) -> None:
        for message in self._heart.beat():
            with self._lock:
                self._beats += 1
            try:
                self._link.publish(message, self._on_beat)
            except BrokerError as error:
                self._log.warning("heartbeat_not_queued", code=error.code)
                with self._lock:
                    self._beats -= 1

    def _on_beat(self, reason: str | None) -> None:
        with self._lock:
            self._beats -= 1
            unheard, self._unheard = self._unheard, reason is not None
        if unheard and reason is None:
            self._courier.heard()  # somebody listens again
        self._woken.set()
