"""The agent as a whole: its parts wired together, started in order and stopped in reverse.

Start: model first, then broker, so that `online` means able to answer. Stop: unsubscribe, drain
with a deadline, say `offline`, disconnect, end the model process.
"""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import closing

from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker, resolve_broker
from edgeqa.health import notify_systemd, write_health
from edgeqa.signals import stop_signals
from edgeqa_agent.health import Health
from edgeqa_agent.identity import OwnIdentity
from edgeqa_agent.settings import AgentSettings
from edgeqa_agent.store import Store
from edgeqa_agent.supervisor import ModelGivenUpError
from edgeqa_agent.wiring import Wired, Wiring

_TICK_S = 0.25
_HEALTH_EVERY_S = 5.0
_FLUSH_S = 2.0
# A swap that does not end in this time is cut off, as by a power cut.
_FOLLOWER_END_S = 5.0


class Agent:
    """One agent. `run` blocks until a signal or `request_stop`."""

    def __init__(self, *, settings: AgentSettings, log: FilteringBoundLogger) -> None:
        self._settings = settings
        self._log = log
        self._stop = threading.Event()
        # In every heartbeat: no longer than it must be to be the only one of its device.
        self._boot_id = secrets.token_hex(8)

    def request_stop(self) -> None:
        """Make `run` stop gracefully and return; safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Serve until asked to stop.

        Raises:
            ConfigError: a file that a setting names is not usable; an `IdentityError` of the
                certificate.
            ModelLoadError, VerificationError, GateError: the package cannot be served.
            BrokerError: no connection to the broker in time.
            ModelGivenUpError: the model served and then died too often.
        """
        with stop_signals(self.request_stop):
            # What is wrong with the settings ends us before the model loads.
            identity, broker = self._identity_and_broker()
            store = Store.open(
                self._settings.resolved_state_dir(),
                embedded=self._settings.base_packages(),
                quota_bytes=self._settings.store_quota_mb << 20,
                log=self._log,
            )
            with closing(store):
                wiring = Wiring(
                    settings=self._settings,
                    broker=broker,
                    identity=identity,
                    store=store,
                    boot_id=self._boot_id,
                    log=self._log,
                )
                parts = wiring.wire()
                self._run(parts)
        self._log.info("agent_stopped", **parts.router.counts)
        if parts.supervisor.gave_up:
            raise ModelGivenUpError("the model process keeps dying; see the log")

    def _identity_and_broker(self) -> tuple[OwnIdentity | None, Broker]:
        identity = OwnIdentity.of(self._settings, self._log)
        if identity is None:
            return None, resolve_broker(self._settings)
        identity.check()
        return identity, resolve_broker(self._settings, own=identity.files)

    def _run(self, parts: Wired) -> None:
        try:
            parts.swapper.begin(parts.supervisor)
            parts.dispatcher.start()
            parts.supervisor.start()
            parts.outbound.start()
            parts.link.start()
            parts.telemetry.start()
            parts.companion.start()
            parts.evaluating.start()
            parts.renewing.start()
            follower = threading.Thread(target=parts.swapper.follow, name="swapper", daemon=True)
            follower.start()
            self._serve(parts)
            parts.evaluating.stop()
            parts.swapper.orders.close()
            follower.join(_FOLLOWER_END_S)
            self._shut_down(parts)
        finally:
            parts.renewing.stop()
            parts.home.stop()
            parts.telemetry.stop()
            parts.outbound.stop()
            parts.commands.stop()
            parts.companion.stop()
            parts.dispatcher.stop()
            parts.supervisor.join()
            parts.companion.join()

    def _serve(self, parts: Wired) -> None:
        self._log.info("agent_online", device=self._settings.device, boot_id=self._boot_id)
        notify_systemd("READY=1")
        next_health = 0.0
        while not self._stop.wait(_TICK_S) and parts.able:
            parts.router.tick()
            if time.monotonic() >= next_health:
                next_health = time.monotonic() + _HEALTH_EVERY_S
                self._report_health("serving", parts)
                notify_systemd("WATCHDOG=1")
        notify_systemd("STOPPING=1")

    def _shut_down(self, parts: Wired) -> None:
        self._log.info("agent_stopping", asked=self._stop.is_set(), depth=parts.dispatcher.depth)
        parts.link.unsubscribe()
        if parts.able:
            if not parts.dispatcher.drain(timeout_s=self._settings.drain_timeout_s):
                self._log.warning("drain_incomplete", depth=parts.dispatcher.depth)
            parts.link.wait_delivered(timeout_s=_FLUSH_S)
        parts.telemetry.finish()
        if parts.able:
            parts.outbound.flush(timeout_s=_FLUSH_S)
        parts.router.stop_taking()
        reason = "stopped" if self._stop.is_set() else "failed"
        parts.link.stop(parts.presence.offline(reason))
        self._report_health("stopped", parts)

    def _report_health(self, state: str, parts: Wired) -> None:
        if self._settings.health_file is None:
            return
        health = Health(
            time=time.time(),
            state=state,
            model_ready=parts.dispatcher.active is not None,
            network_alive=parts.link.alive,
            connected=parts.link.connected,
            queue_depth=parts.dispatcher.depth,
            answered=parts.router.counts["answered"],
        )
        try:
            write_health(self._settings.health_file, health)
        except OSError as error:
            self._log.error("health_file_failed", reason=str(error))
