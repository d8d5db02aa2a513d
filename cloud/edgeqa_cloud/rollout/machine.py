"""The state machine of rollouts: what is, and what was seen, to what follows. Pure.

`step` is all of it. It takes in what devices said, obeys or refuses orders, and goes on as far as
what it was told allows, so that a second step with the same facts changes nothing. docs/
rollout-states.md draws it.

Invariants:
    Nothing completes with a breached gate, and no order leads over one.
    A paused rollout makes nobody follow the new model.
    A device counts as changed, or as back, only when it said so itself, by the digest of the model
    that answers, for the wish that it was given.
    What another took over is never touched again.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeqa_cloud.rollout.machine_back import end_abort, end_undo
from edgeqa_cloud.rollout.machine_breach import breach
from edgeqa_cloud.rollout.machine_draft import Draft
from edgeqa_cloud.rollout.machine_orders import obey
from edgeqa_cloud.rollout.machine_reports import observe
from edgeqa_cloud.rollout.machine_stage import advance
from edgeqa_cloud.rollout.machine_turns import join, take_turns
from edgeqa_cloud.rollout.model import Facts, Outcome, Rollout
from edgeqa_cloud.rollout.states import RolloutState

# A stage takes two rounds: its turns, and its end. Only stages without a soak end in the step in
# which they begin.
_ROUNDS_PER_STAGE = 3


def step(rollout: Rollout, facts: Facts, *, new_id: Callable[[], str]) -> Outcome:
    """What follows.

    Args:
        rollout: as it is; not changed.
        facts: what was seen.
        new_id: gives the id of a new wish.

    Returns:
        The same rollout, the very object, where nothing changed.
    """
    draft = Draft(rollout, facts, new_id=new_id)
    observe(draft)
    obey(draft)
    if rollout.state.final and not draft.rollout.state.final:
        observe(draft)  # what did not matter before
    join(draft)
    for _ in range(_ROUNDS_PER_STAGE * (len(rollout.spec.stages) + 1)):
        before = draft.version
        _go_on(draft)
        draft.flush()
        if draft.version == before:
            break
    return draft.outcome()


def _go_on(draft: Draft) -> None:
    state = draft.rollout.state
    if state in {RolloutState.RUNNING, RolloutState.PAUSED} and breach(draft):
        return
    if state is RolloutState.RUNNING:
        take_turns(draft)
        advance(draft)
    elif state is RolloutState.ABORTING:
        end_abort(draft)
    elif state in {RolloutState.UNDOING, RolloutState.UNDO_INCOMPLETE}:
        end_undo(draft)
