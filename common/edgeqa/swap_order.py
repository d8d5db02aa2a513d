"""One `edgeqa swap`: a wish is left with the broker, or followed to its end."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Self

from rich.console import Console

from edgeqa.codes import exit_code_of_swap
from edgeqa.errors import AnswerError, AnswerTimeoutError, ExitCode
from edgeqa.following import Course, Ending, Following, state_in_words
from edgeqa.messages import Fault, Status, Wire
from edgeqa.model_messages import Desired, Gates, ModelState, Reported, Shadow
from edgeqa.operator import Operator, new_wish_id
from edgeqa.presence import presence_in_words
from edgeqa.show import clean
from edgeqa.swap_view import SwapView
from edgeqa.wanted import Wanted

# How long to look for a device's presence: it comes at once if the broker holds one.
_PRESENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class SwapOrder:
    """What a person said."""

    device: str
    wanted: Wanted
    gates: Gates | None
    shadow: Shadow | None
    as_json: bool

    def leave(self, operator: Operator, *, timeout_s: float) -> None:
        """Make the wish, and say whether the device is there to follow it.

        Raises:
            EdgeqaError: as `Operator.wish`.
        """
        wish = self._wish(operator, new_wish_id(), timeout_s)
        if not self.as_json:
            presence = _presence(operator, self.device)
            offline = presence is not None and presence.status == "offline"
            when = " and follows the wish when it is back" if offline else ""
            line = (
                f"{self.device} shall run {wish.name} {wish.version}; "
                f"{presence_in_words(presence)}{when}"
            )
            sys.stdout.write(clean(line) + "\n")

    def follow(self, operator: Operator, *, timeout_s: float, wait_s: float) -> None:
        """Make the wish and show what the device reports until its end.

        Raises:
            AnswerError: the device refused it, it was not good enough, or something newer came.
            AnswerTimeoutError: it is not done in `wait_s`.
            EdgeqaError: as `Operator.wish`.
        """
        wish_id, wished = new_wish_id(), False
        view = _Messages() if self.as_json else SwapView(self.device, Console())
        take_back = f"the wish stands; take it back by: edgeqa swap {self.device} --withdraw"
        try:
            with (
                view,
                operator.follow(
                    self.device, wish_id, wait_s, on_presence=view.show_presence
                ) as following,
            ):
                self._wish(operator, wish_id, timeout_s)
                wished = True
                self._show(operator, following, view)
        except AnswerTimeoutError as error:
            raise AnswerTimeoutError(f"{error}; {take_back}" if wished else str(error)) from error
        except KeyboardInterrupt:
            # Only here, where the view has left the terminal, it is not wiped away.
            sys.stderr.write(f"\nedgeqa: {take_back}\n" if wished else "")
            raise
        conclude(following.course, self.device)

    def _show(self, operator: Operator, following: Following, view: SwapView | _Messages) -> None:
        if _presence(operator, self.device) is None:
            view.show_stranger()
        for report in following:
            view.show(report)

    def _wish(self, operator: Operator, wish_id: str, timeout_s: float) -> Desired:
        wish = operator.wish(
            self.device,
            self.wanted.name,
            self.wanted.version,
            digest=self.wanted.digest,
            gates=self.gates,
            shadow=self.shadow,
            wish_id=wish_id,
            timeout_s=timeout_s,
        )
        if self.as_json:
            print_message(wish)
        return wish


def conclude(course: Course, device: str) -> None:
    """Return if the wish came true.

    Raises:
        AnswerError: what became of it instead, with the exit code for that.
    """
    if course.ending is Ending.WITHDRAWN:
        raise AnswerError(
            f"the wish for {device} was taken back",
            code="withdrawn",
            exit_code=ExitCode.REFUSED,
        )
    if course.newer is not None:
        raise AnswerError(
            f"a newer wish came: {device} follows that for {course.newer.name} "
            f"{course.newer.version}",
            code="superseded",
            exit_code=ExitCode.REFUSED,
        )
    if course.turned_to is not None:
        other = course.turned_to
        raise AnswerError(
            f"{device} left the wish: {other.name} {other.version} is {state_in_words(other)}",
            code="superseded",
            exit_code=ExitCode.REFUSED,
        )
    last = course.last
    if last is None or last.state is ModelState.ACTIVE:
        return
    reason = last.reason or Fault(code="swap_failed", message="it gives no reason")
    if last.state is ModelState.ROLLED_BACK:
        what, exit_code = "went back from", ExitCode.GATE
    else:
        what, exit_code = "did not take", exit_code_of_swap(reason.code)
    raise AnswerError(
        f"{device} {what} {last.name} {last.version}: {reason.message}",
        code=reason.code,
        exit_code=exit_code,
    )


def print_message(message: Wire) -> None:
    """A message as it goes over the wire, on a line of its own."""
    sys.stdout.write(message.to_json().decode() + "\n")
    sys.stdout.flush()


class _Messages:
    """What `SwapView` shows to a person, for a program: the reports themselves."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show_presence(self, presence: Status) -> None:
        pass

    def show_stranger(self) -> None:
        pass

    def show(self, report: Reported) -> None:
        print_message(report)


def _presence(operator: Operator, device: str) -> Status | None:
    try:
        return operator.status(device, timeout_s=_PRESENCE_S)
    except AnswerTimeoutError:
        return None
