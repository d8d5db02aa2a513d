"""Follows the newest wish: from a package's name to a model that answers questions.

Obtain (from the device, or by TUF), verify, load beside the active model, test, perhaps let it run
in the shadow, make it durable, exchange. Whatever fails before the last two, the active model goes
on serving and the disk is as it was; a newer order drops what is under way at any of those steps.

Thread: `follow` runs in one thread of the agent's; `give_up` and `replaced` are called in the
supervisor's; the rest from any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from edgeqa.errors import ConfigError, EdgeqaError, ModelLoadError
from edgeqa.installation import InstallationError
from edgeqa.manifest import Package, open_package
from edgeqa.messages import Fault, ModelRef
from edgeqa.model_messages import Desired, ModelState
from edgeqa_agent.gates import judge
from edgeqa_agent.lane import Lane
from edgeqa_agent.news import News
from edgeqa_agent.orders import Order, Rollback, SupersededError
from edgeqa_agent.reports import Subject, fault
from edgeqa_agent.shadow import Trial
from edgeqa_agent.store_state import MAX_BOOT_ATTEMPTS, WishRecord
from edgeqa_agent.supervisor import Supervisor
from edgeqa_agent.swap_parts import Parts

T = TypeVar("T")

_SHADOW_TOLD_EVERY_S = 2.0


class Swapper:
    """The one who changes the model."""

    def __init__(self, parts: Parts) -> None:
        self.orders = parts.orders
        self._parts = parts
        self._store = parts.store
        self._reports = parts.reports
        self._news = News(
            store=parts.store,
            dispatcher=parts.dispatcher,
            reports=parts.reports,
            announce=parts.announce,
        )
        self._log = parts.log
        self._supervisor: Supervisor | None = None

    def begin(self, supervisor: Supervisor) -> None:
        """Load the best model on the device, and report it.

        Raises:
            EdgeqaError: none can be served, or, where none was wished for yet, not the first.
        """
        self._supervisor = supervisor
        wanted = self._store.state.current
        if wanted is None:  # what the settings name must serve: no other instead
            package = open_package(self._parts.first)
            supervisor.exchange(self._start(package))
            self._news.active(package.ref)
            return
        why: Fault | None = None
        for package in self._store.boot_order():
            try:
                supervisor.exchange(self._start(package))
            except EdgeqaError as error:
                if error.code == InstallationError.code:
                    raise  # no model is to blame, and none would fare better
                what = {"package": str(package.path), "code": error.code, "reason": str(error)}
                self._log.error("model_not_started", **what)
                self._leave(package.ref, why := fault(error))
            else:
                break
        else:
            raise ConfigError("no model package on this device can be served; see the log")
        if wanted == package.ref:
            self._news.active(package.ref)
        else:
            self._news.left(wanted, why)

    def follow(self) -> None:
        """Carry out orders until they are closed."""
        while (order := self.orders.take()) is not None:
            try:
                self._carry_out(order)
            except Exception:  # noqa: BLE001  one order's bug must not end the following of others
                self._log.exception("swap_crashed")
                bug = EdgeqaError("an error in the agent; see its log", code="swap_failed")
                if isinstance(order, Desired):
                    self._fail(order, bug)
                elif isinstance(order, Rollback):
                    order.done(bug)
            finally:
                self._store.rest()

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, Desired):
            self._follow(order)
        elif isinstance(order, Rollback):
            self._roll_back(order)
        else:
            self._log.info("wish_withdrawn")
            self._news.served()

    def give_up(self, package: Package) -> Package | None:
        """The package that serves instead of one that keeps dying; None if there is none."""
        name = f"{package.manifest.name} {package.manifest.version}"
        reason = Fault(code="model_keeps_dying", message=f"{name} died again and again")
        self._leave(package.ref, reason)
        instead = next(self._store.boot_order(), None)
        if instead is None or instead.digest == package.digest:
            return None
        self._news.left(package.ref, reason)
        return instead

    def replaced(self, lane: Lane) -> None:
        """Another process serves than before."""
        self._log.info("model_replaced", model=lane.model.name, version=lane.model.version)
        self._news.replaced()

    def refuse(self, error: EdgeqaError) -> None:
        """Report a wish that cannot be read; nothing changes."""
        self._news.served(reason=fault(error))

    def _follow(self, wish: Desired) -> None:
        record = self._store.state.wish
        if record is not None and record.id == wish.id:
            self._news.again(record, wish)
            return
        try:
            self._swap(wish)
        except EdgeqaError as error:
            # Where a newer order has come, what went wrong may be only that the load was cut off.
            if self.orders.newer.is_set():
                self._log.info("wish_superseded", wish=wish.id, stopping=self.orders.closed)
            else:
                self._fail(wish, error)

    def _swap(self, wish: Desired) -> None:
        package = self._parts.obtain(wish)
        subject = Subject.of(wish, package.digest)
        active = self._parts.dispatcher.active
        if active is not None and active.model == package.ref:
            self._test(active, wish, subject)
            self._store.activate(package, WishRecord.of(wish, package.digest))
        else:
            self._reports.tell(ModelState.LOADING, subject)
            lane = self._load(package)
            with self._discarding(lane):
                self._test(lane, wish, subject)
                self._run_in_shadow(lane, wish, subject)
                self.orders.check()
                self._store.activate(package, WishRecord.of(wish, package.digest))
            self._exchange(lane)
        self._news.active(package.ref)
        self._try(lambda keep: self._store.prune(keep_quota=keep), True)

    def _exchange(self, lane: Lane) -> None:
        assert self._supervisor is not None  # noqa: S101  `begin` was called
        try:
            self._supervisor.exchange(lane)
        except EdgeqaError as error:
            # It died since it was tested; it is on disk as the current one already.
            self._leave(lane.model, fault(error))
            raise
        self._news.presence()

    def _start(self, package: Package) -> Lane:
        """A proven lane while nothing serves: memory is not asked for, nor is a full disk."""
        self._try(self._store.loading, package)
        lane = self._parts.loader.prepare(package)
        with self._surviving(package):
            self._parts.loader.load(lane)
        return lane

    def _load(self, package: Package) -> Lane:
        """A proven lane beside what serves; a newer order ends its process."""
        self._parts.admit(package)
        attempts = self._store.state.attempts(package.digest)
        if attempts >= MAX_BOOT_ATTEMPTS:
            with self._surviving(package):  # a new wish may try again
                raise ModelLoadError(
                    f"the device went down {attempts} times while it was loaded",
                    code="model_keeps_dying",
                )
        self._store.loading(package)
        lane = self._parts.loader.prepare(package)
        with self._surviving(package), self.orders.aborting(lane.process.stop):
            self._parts.loader.load(lane)
        return lane

    @contextmanager
    def _surviving(self, package: Package) -> Iterator[None]:
        """However the block ends: it did not take the device down."""
        try:
            yield
        finally:
            self._try(self._store.ready, package)

    def _test(self, lane: Lane, wish: Desired, subject: Subject) -> None:
        assert lane.ready is not None  # noqa: S101  it was loaded
        self._reports.tell(ModelState.TESTING, subject, checks=lane.ready.scores)
        judge(lane.ready.scores, self._parts.gates, wish.gates)

    def _run_in_shadow(self, lane: Lane, wish: Desired, subject: Subject) -> None:
        if wish.shadow is None:
            return
        assert lane.ready is not None  # noqa: S101  it was loaded
        dispatcher = self._parts.dispatcher
        trial = Trial(wish.shadow, ask=lambda request: dispatcher.ask(lane, request))
        dispatcher.observer = trial.observe
        try:
            while not trial.wait(_SHADOW_TOLD_EVERY_S):
                self.orders.check()
                self._news.shadow(trial, lane, subject)
        finally:
            dispatcher.observer = None
            self._news.shadow(trial, lane, subject)
        trial.judge()

    def _roll_back(self, order: Rollback) -> None:
        try:
            self._go_to_previous()
        except EdgeqaError as error:
            order.done(
                SupersededError("a newer wish came") if self.orders.newer.is_set() else error
            )
        else:
            order.done(None)

    def _go_to_previous(self) -> None:
        current, previous = self._parts.dispatcher.model, self._store.previous_package()
        if previous is None or current is None or previous.ref == current:
            raise ConfigError("there is no previous model", code="nothing_to_roll_back")
        lane = self._load(previous)
        reason = Fault(code="rolled_back", message="a command said so")
        with self._discarding(lane):
            self.orders.check()
            self._store.step_back(reason=reason)
        self._exchange(lane)
        self._news.left(current, reason)

    @contextmanager
    def _discarding(self, lane: Lane) -> Iterator[None]:
        """End a lane's process if the block fails."""
        try:
            yield
        except BaseException:
            self._parts.dispatcher.discard(lane)
            raise

    def _fail(self, wish: Desired, error: EdgeqaError) -> None:
        reason = fault(error)
        self._try(self._store.record_wish, WishRecord.of(wish, wish.digest, reason))
        self._reports.tell(ModelState.FAILED, Subject.of(wish), reason=reason)

    def _leave(self, model: ModelRef, reason: Fault) -> None:
        """Make it durable that a model is not gone back to, if it is the current one."""
        if self._store.state.current == model:
            self._try(lambda why: self._store.step_back(reason=why), reason)

    def _try(self, note: Callable[[T], object], what: T) -> None:
        """Note something on disk; what cannot be noted is found out again after a restart."""
        try:
            note(what)
        except EdgeqaError as error:
            self._log.error("not_noted", code=error.code, reason=str(error))
