"""How a simulated device follows a wish: fetch, verify, load, test, serve; or not, for a reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeqa.messages import Fault, ModelRef
from edgeqa.model_messages import CheckScores, Desired, ModelState
from edgeqa.telemetry_messages import Trigger
from edgeqa_cloud.simulate.loop import EventLoop, Timer
from edgeqa_cloud.simulate.measure import Loaded, Measured
from edgeqa_cloud.simulate.models import Models

# A model that keeps dying does so soon after it began to serve.
_DIES_AFTER_S = 30.0
_VERIFY_S = 0.5
_FAILURES = (
    Fault(code="model_load_failed", message="the model does not load (simulated)"),
    Fault(code="checks_failed", message="its check questions are answered otherwise (simulated)"),
    Fault(code="disk_full", message="not enough room on the disk (simulated)"),
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a device needs, about."""

    fetch_s: float
    load_s: float


class WishFollower:
    """The models of one device.

    Args:
        loop: for the time that things take.
        models: what the world knows of models.
        first: the model that the device starts with.
        measured: for the check questions.
        pace: how long things take.
        rng: the device's chance.
        report: publishes a `Reported`, given its own fields.
        record: writes a `SwapReport`, given its own fields.
        changed: called when another model serves; evaluates it.
    """

    def __init__(
        self,
        *,
        loop: EventLoop,
        models: Models,
        first: Loaded,
        measured: Measured,
        pace: Pace,
        rng: random.Random,
        report: Callable[[dict[str, Any]], None],
        record: Callable[[dict[str, Any]], None],
        changed: Callable[[Trigger], None],
    ) -> None:
        self.active = first
        self.previous: Loaded | None = None
        self._loop = loop
        self._models = models
        self._measured = measured
        self._pace = pace
        self._rng = rng
        self._report = report
        self._record = record
        self._changed = changed
        self._followed: str | None = None
        self._step: Timer | None = None
        self._begun_at = 0.0
        self._subject: dict[str, Any] = self._named(first.ref)

    def tell(self) -> None:
        """Report the model that serves, as at a start."""
        self._report({"state": ModelState.ACTIVE, **self._subject})

    def wish(self, wish: Desired) -> None:
        """Follow a wish, once; a newer one ends an older that is under way."""
        if wish.id == self._followed:
            return
        self._stop()
        self._followed = wish.id
        self._begun_at = self._loop.clock()
        self._subject = {
            "name": wish.name,
            "version": wish.version,
            "digest": wish.digest,
            "wish": wish.id,
            "rollout": wish.rollout,
        }
        model = self._models.get((wish.name, wish.version))
        if model is None:
            known = "the simulation was given no such model; see --models"
            self._fail(Fault(code="unknown_package", message=known))
            return
        ref = model.ref(wish.digest)
        if wish.digest is not None and ref.digest != wish.digest:
            self._fail(Fault(code="wrong_digest", message=f"it is {ref.digest}"))
            return
        self._subject["digest"] = ref.digest
        fails = self._rng.random() < model.fail
        loaded = Loaded(model, ref)
        if ref == self.active.ref:
            self._serve(loaded, None)
            return
        self._report({"state": ModelState.FETCHING, "progress": 0, **self._subject})
        self._after(self._pace.fetch_s, lambda: self._verify(wish, loaded, fails))

    def withdraw(self) -> None:
        """The wish was taken back: what serves goes on serving."""
        if self._step is not None:
            self._stop()
            self._subject = self._named(self.active.ref)
            self.tell()
        self._followed = None

    def rollback(self, reason: Fault | None = None) -> bool:
        """Go back to the model before; False if there is none."""
        if self.previous is None:
            return False
        self._stop()
        left, self.active, self.previous = self.active, self.previous, None
        reason = reason or Fault(code="rolled_back", message="an operator said so")
        fields = {"state": ModelState.ROLLED_BACK, "reason": reason}
        subject = {**self._subject, **self._named(left.ref)}
        self._report({**subject, **fields})
        self._record_swap({**subject, **fields}, None)
        self._changed(Trigger.SWAP)
        return True

    def _verify(self, wish: Desired, loaded: Loaded, fails: bool) -> None:
        self._report({"state": ModelState.VERIFYING, **self._subject})
        self._after(_VERIFY_S, lambda: self._load(wish, loaded, fails))

    def _load(self, wish: Desired, loaded: Loaded, fails: bool) -> None:
        self._report({"state": ModelState.LOADING, **self._subject})
        self._after(self._pace.load_s, lambda: self._test(wish, loaded, fails))

    def _test(self, wish: Desired, loaded: Loaded, fails: bool) -> None:
        if fails:
            self._fail(self._rng.choice(_FAILURES))
            return
        checks = self._measured.checks(loaded, load_s=self._loop.clock() - self._begun_at)
        self._report({"state": ModelState.TESTING, "checks": checks, **self._subject})
        refusal = _gate(wish, checks)
        if refusal is not None:
            self._fail(refusal, checks)
        else:
            self._serve(loaded, checks)

    def _serve(self, loaded: Loaded, checks: CheckScores | None) -> None:
        self._step = None
        new = loaded.ref != self.active.ref
        if new:
            self.previous, self.active = self.active, loaded
        self._report({"state": ModelState.ACTIVE, "checks": checks, **self._subject})
        if not new:
            return
        self._record_swap({"state": ModelState.ACTIVE, **self._subject}, checks)
        self._changed(Trigger.SWAP)
        if self._rng.random() < loaded.model.dies:
            reason = Fault(code="model_keeps_dying", message="it died three times (simulated)")
            self._after(_DIES_AFTER_S, lambda: self.rollback(reason))

    def _fail(self, reason: Fault, checks: CheckScores | None = None) -> None:
        self._step = None
        fields = {"state": ModelState.FAILED, "reason": reason, **self._subject}
        self._report({"checks": checks, **fields})
        self._record_swap(fields, checks)

    def _record_swap(self, fields: dict[str, Any], checks: CheckScores | None) -> None:
        took_ms = 1000 * (self._loop.clock() - self._begun_at) if self._begun_at else None
        self._record(
            {
                **fields,
                "state": str(fields["state"]),
                "active": self.active.record,
                "previous": self.previous.record if self.previous else None,
                "checks": checks,
                "duration_ms": took_ms and round(took_ms, 1),
            }
        )

    def _after(self, about_s: float, then: Callable[[], object]) -> None:
        def step() -> None:
            self._step = None
            then()

        self._step = self._loop.call_later(about_s * self._rng.uniform(0.5, 1.6), step)

    def _stop(self) -> None:
        if self._step is not None:
            self._step.cancel()
            self._step = None

    @staticmethod
    def _named(ref: ModelRef) -> dict[str, Any]:
        return {"name": ref.name, "version": ref.version, "digest": ref.digest}


def _gate(wish: Desired, checks: CheckScores) -> Fault | None:
    """Why a model that is sound is not good enough; codes as a device's gates give them."""
    gates = wish.gates
    if gates is None:
        return None
    for least, reached in (
        (gates.min_exact_match, checks.exact_match),
        (gates.min_f1, checks.f1),
    ):
        if least is not None and reached < least:
            return Fault(code="gate_accuracy", message=f"{reached:.2f} %, not {least:.2f} %")
    if gates.max_p95_ms is not None and checks.p95_ms > gates.max_p95_ms:
        return Fault(code="gate_latency", message=f"p95 {checks.p95_ms:.1f} ms")
    if gates.max_memory_mb is not None and checks.memory_bytes / 2**20 > gates.max_memory_mb:
        return Fault(code="gate_memory", message=f"{checks.memory_bytes / 2**20:.0f} MiB")
    return None
