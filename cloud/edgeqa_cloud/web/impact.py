"""What an order would do, to how many devices: what a person reads before it is given. Pure.

The sentences say what `rollout.machine` does with the order, with the counts of the page that they
stand on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgeqa_cloud.rollout.allowed import allowed_now, why_not
from edgeqa_cloud.rollout.states import Action, GateStatus, MemberState, RolloutState
from edgeqa_cloud.rollout.views import RolloutView
from edgeqa_cloud.web.gate_bars import gate_name
from edgeqa_cloud.web.shown import model, plural


@dataclass(frozen=True, slots=True)
class Choice:
    """An order that a person can give.

    Attributes:
        action: what is ordered.
        title: the question.
        effects: what would happen, a sentence each.
        confirm: on the button that orders it.
        possible: whether it can make sense now.
        refused: why it would be refused; None where it would not, as far as is known.
    """

    action: Action
    title: str
    effects: tuple[str, ...]
    confirm: str
    possible: bool
    refused: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A rollout, and how many of its devices got a wish from it, by state.

    A device that ran the model already has none, and nothing is done with it by an undo.
    """

    view: RolloutView
    wished: Mapping[MemberState, int]


def choices(standing: Standing) -> list[Choice]:
    """All orders, in the order in which they are declared."""
    view = standing.view
    possible = allowed_now(view.state)
    return [
        Choice(
            action=action,
            title=f"{action.value.capitalize()} {view.rollout}?",
            effects=tuple(_EFFECTS[action](standing)),
            confirm=_confirm(standing, action),
            possible=action in possible,
            refused=_refused(view, action),
        )
        for action in Action
    ]


def undone_by(standing: Standing) -> int:
    """How many devices an undo sends back."""
    return sum(standing.wished.get(state, 0) for state in _BACK)


def _refused(view: RolloutView, action: Action) -> str | None:
    why = why_not(view.state, action, view.gates)
    if why is None and action is Action.RESUME:
        # As promote: the engine lets no order over a gate that is breached.
        return why_not(view.state, Action.PROMOTE, view.gates)
    return why


_BACK = (
    MemberState.CHANGED,
    MemberState.WISHED,
    MemberState.FAILED,
    MemberState.REVERTING,
    MemberState.REVERT_FAILED,
    MemberState.REVERT_EXPIRED,
)
_BACK_WORDS: Mapping[MemberState, str] = {
    MemberState.CHANGED: "changed",
    MemberState.WISHED: "under way",
    MemberState.FAILED: "that failed",
    MemberState.REVERTING: "going back already",
    MemberState.REVERT_FAILED: "that could not go back",
    MemberState.REVERT_EXPIRED: "that did not come back in time",
}


def _confirm(standing: Standing, action: Action) -> str:
    view = standing.view
    match action:
        case Action.PAUSE:
            return "Pause the rollout"
        case Action.RESUME:
            return f"Resume for {_devices(_to_come(view))}"
        case Action.PROMOTE if _is_last(view):
            return "Promote: complete the rollout"
        case Action.PROMOTE:
            following = _waiting(view, view.stage + 1)
            return f"Promote to stage {view.stage + 2}: {_devices(following)}"
        case Action.ABORT:
            return "Abort the rollout"
        case Action.UNDO:
            return f"Undo on {_devices(undone_by(standing))}"


def _pause(standing: Standing) -> Iterator[str]:
    view = standing.view
    waiting = _count(view, MemberState.WAITING)
    if waiting:
        yield f"{_devices(waiting)} without a wish yet: none until the rollout is resumed."
    else:
        yield "No device waits for its turn: none is held back."
    under_way = _count(view, MemberState.WISHED)
    if under_way:
        yield f"{_devices(under_way)} under way: they finish."
    yield (
        f"{_devices(_count(view, MemberState.CHANGED), 'keeps', 'keep')} {model(view.model)}, and "
        "the gates go on being judged: a breach still stops the rollout."
    )


def _resume(standing: Standing) -> Iterator[str]:
    view = standing.view
    here, later = _to_come_here(view), _to_come(view)
    where = f"Stage {view.stage + 1} of {view.stages} goes on"
    if here:
        yield f"{where}: {_devices(here, 'gets', 'get')} {model(view.model)} next."
    else:
        yield f"{where}: it waits for its soak and its gates."
    if later > here:
        yield f"{_devices(later - here, 'follows', 'follow')} in later stages if the gates hold."
    if view.reason:
        yield "It was paused for the reason above; it pauses again if that still holds."


def _promote(standing: Standing) -> Iterator[str]:
    view = standing.view
    open_gates = [
        gate_name(gate.gate)
        for gate in view.gates
        if gate.status is GateStatus.UNDECIDED
        or (gate.status is GateStatus.NO_DATA and gate.required)
    ]
    waived = "what is left of its soak"
    if open_gates:
        waived += f", and the gates without enough evidence ({', '.join(open_gates)}),"
    yield (
        f"Stage {view.stage + 1} of {view.stages} ends as soon as its devices under way are "
        f"settled: {waived} {'are' if open_gates else 'is'} waived."
    )
    if view.state is RolloutState.PAUSED:
        yield "The pause ends."
    if _is_last(view):
        yield "It is the last stage: the rollout completes when every device is settled."
    else:
        following = _devices(_waiting(view, view.stage + 1), "gets", "get")
        yield f"Stage {view.stage + 2} is next: {following} {model(view.model)}."
    yield "A gate that is breached is never waived."


def _abort(standing: Standing) -> Iterator[str]:
    view = standing.view
    yield from _left_alone(view)
    under_way = _count(view, MemberState.WISHED)
    if under_way:
        yield f"{_devices(under_way, 'goes', 'go')} back, from under way, to the model from before."
    yield f"{_devices(_count(view, MemberState.CHANGED), 'keeps', 'keep')} {model(view.model)}."
    yield "It cannot be resumed. Undo stays possible."


def _undo(standing: Standing) -> Iterator[str]:
    view, wished = standing.view, standing.wished
    parts = [f"{wished[state]:,} {_BACK_WORDS[state]}" for state in _BACK if wished.get(state)]
    total = undone_by(standing)
    if total:
        yield (
            f"{_devices(total, 'goes', 'go')} back to the model from before: {', '.join(parts)}. "
            "Each is verified by what it reports."
        )
    else:
        yield "No device got the model by this rollout: none has to go back."
    already = _count(view, MemberState.CHANGED) - wished.get(MemberState.CHANGED, 0)
    if already:
        yield f"{_devices(already)} had the model already: that stays."
    yield from _left_alone(view)
    taken = _count(view, MemberState.SUPERSEDED)
    if taken:
        yield f"{_devices(taken, 'is', 'are')} another rollout's by now: left as is."
    if total:
        yield "Time windows and the rate limit do not hold this up. It cannot be resumed."


_EFFECTS: Mapping[Action, Callable[[Standing], Iterator[str]]] = {
    Action.PAUSE: _pause,
    Action.RESUME: _resume,
    Action.PROMOTE: _promote,
    Action.ABORT: _abort,
    Action.UNDO: _undo,
}


def _left_alone(view: RolloutView) -> Iterator[str]:
    waiting = _count(view, MemberState.WAITING)
    if waiting:
        yield f"{_devices(waiting)} without a wish yet: nothing changes there."


def _is_last(view: RolloutView) -> bool:
    return view.stage + 1 >= view.stages


def _count(view: RolloutView, state: MemberState) -> int:
    return view.states.get(state, 0)


def _waiting(view: RolloutView, stage: int) -> int:
    return sum(
        one.states.get(MemberState.WAITING, 0) for one in view.stage_list if one.stage == stage
    )


def _to_come_here(view: RolloutView) -> int:
    return sum(_waiting(view, stage) for stage in range(view.stage + 1))


def _to_come(view: RolloutView) -> int:
    return _count(view, MemberState.WAITING)


def _devices(count: int, one: str = "", many: str = "") -> str:
    """`1 device goes`, `2 devices go`."""
    verb = one if count == 1 else many
    return plural(count, "device") + (f" {verb}" if verb else "")
