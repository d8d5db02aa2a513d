"""Parts of the pages of rollouts: what an order would do, bars, forms, addresses. Pure."""

from __future__ import annotations

from typing import Any

import pytest
from support.fleet import NEW, OLD
from support.rollout_rows import GATE

from edgeqa_cloud.rollout.spec import RolloutSpec, Target
from edgeqa_cloud.rollout.states import Action, MemberState, RolloutState
from edgeqa_cloud.rollout.views import GateView, PackageView, RolloutView
from edgeqa_cloud.web.audit_state import AuditState
from edgeqa_cloud.web.evidence import MAX_LINES, evidence_text
from edgeqa_cloud.web.gate_bars import gate_bar, gate_figure, gate_interval, gate_words
from edgeqa_cloud.web.impact import Choice, Standing, choices
from edgeqa_cloud.web.rollout_draft import Draft
from edgeqa_cloud.web.rollout_state import MembersState, RolloutsState
from edgeqa_cloud.web.rollout_words import target_words
from edgeqa_cloud.web.score_cards import architecture_words, score_cards

MODEL = f"{NEW['name']}@{NEW['version']}"


def view(**fields: Any) -> RolloutView:
    spec = RolloutSpec.model_validate(
        {"package": {"name": "m", "version": "1.0.0"}, "target": {"all": True},
         "stages": [{"count": 2}, {"percent": 100}]}
    )  # fmt: skip
    states = fields.pop("states", {"changed": 2, "waiting": 3})
    stage = {"soak_s": 60.0, "state": "changing"}
    return RolloutView.model_validate(
        {
            "rollout": "r-1", "created_ms": 0, "created_by": "user:anna",
            "model": {"name": "m", "version": "1.0.0", "digest": None}, "state": "running",
            "code": None, "reason": None, "stage": 0, "stages": 2, "devices": 5, "states": states,
            "ended_ms": None, "updated_ms": 0, "revision": 1, "note": "", "spec": spec,
            "stage_list": [
                {"stage": 0, "label": "2 devices", "devices": 2, "states": {"changed": 2}, **stage},
                {"stage": 1, "label": "100 %", "devices": 3, "states": {"waiting": 3}, **stage},
            ],
            "stage_begun_ms": 0, "soak_begun_ms": None, "soak_ends_ms": None, "gates": [],
            "gates_ms": None, "waiting_for": None, "orders": [],
        } | fields
    )  # fmt: skip


def choice(action: Action, wished: dict[MemberState, int] | None = None, **fields: Any) -> Choice:
    made = Standing(view(**fields), wished or {})
    return next(one for one in choices(made) if one.action is action)


def test_an_undo_counts_who_got_a_wish() -> None:
    one = choice(Action.UNDO, {MemberState.CHANGED: 1})
    assert one.confirm == "Undo on 1 device"
    assert one.effects[0].startswith("1 device goes back to the model from before: 1 changed.")
    assert "1 device had the model already: that stays." in one.effects
    assert any(said.startswith("3 devices without a wish yet") for said in one.effects)


def test_an_undo_of_nothing_says_so() -> None:
    one = choice(Action.UNDO, state="completed", states={"superseded": 2, "waiting": 0})
    assert one.effects[0].startswith("No device got the model")
    assert one.confirm == "Undo on 0 devices"


def test_the_last_stage_is_promoted_to_the_end() -> None:
    one = choice(Action.PROMOTE, stage=1, states={"changed": 5})
    assert one.confirm == "Promote: complete the rollout"
    assert any("the rollout completes" in said for said in one.effects)


def test_promote_names_what_it_waives() -> None:
    one = choice(Action.PROMOTE, gates=[GATE | {"of": "questions", "required": True}])
    assert "(F1)" in one.effects[0]
    assert one.refused is None


@pytest.mark.parametrize("action", [Action.PROMOTE, Action.RESUME])
def test_a_breach_is_in_the_way(action: Action) -> None:
    one = choice(action, state="paused", gates=[GATE | {"status": "breached"}])
    assert one.possible
    assert one.refused is not None
    assert "breached" in one.refused


@pytest.mark.parametrize("state", RolloutState)
def test_each_order_is_described_in_each_state(state: RolloutState) -> None:
    for one in choices(Standing(view(state=state.value), {})):
        assert one.effects
        assert one.confirm
        assert one.title


def gate(**fields: Any) -> GateView:
    return GateView.model_validate(GATE | fields)


def test_a_bar_shows_where_the_interval_lies() -> None:
    bar = gate_bar(gate(value=-1.0, low=-2.0, high=0.5, limit=-3.0))
    assert bar is not None
    assert bar.neutral is not None
    assert 0 < bar.limit < bar.low < bar.value < bar.neutral < bar.high < 100
    assert (bar.bad, bar.bad_width) == (0.0, bar.limit)  # fewer points are worse


def test_more_of_a_cost_is_worse() -> None:
    bar = gate_bar(gate(unit="ratio", value=1.8, low=1.6, high=2.1, limit=1.5))
    assert bar is not None
    assert bar.neutral is not None
    assert bar.neutral < bar.limit < bar.low < bar.value < bar.high
    assert bar.bad == bar.limit
    assert bar.bad + bar.bad_width == pytest.approx(100)


def test_a_bar_of_one_figure() -> None:
    bar = gate_bar(gate(unit="share", value=0.0, low=None, high=None, limit=0.0))
    assert bar is not None
    assert bar.width == 0
    assert 0 <= bar.value == bar.limit <= 100


def test_no_bar_without_figures() -> None:
    assert gate_bar(gate(value=None)) is None
    assert gate_bar(gate(limit=None)) is None


def test_a_bar_in_words() -> None:
    one = gate(value=-1.2, low=-7.5, high=5.1, limit=-3.0)
    plain = gate_words(one).replace("\u202f", " ")
    assert plain == (
        "value −1.2 points, 95 % interval −7.5 points to +5.1 points, limit −3.0 points"
    )
    assert gate_interval(one).replace("\u202f", " ") == "−7.5 to +5.1; limit −3.0 points"
    assert gate_figure(None, "points") == "–"
    assert gate_figure(0.031, "share").replace("\u202f", " ") == "3.1 %"


def test_each_mistake_of_a_form_goes_to_its_field() -> None:
    sent = [
        ("package", "m@1.0.0"), ("all", "on"), ("stage_kind", "percent"), ("stage_size", "120"),
        ("stage_soak", "soon"), ("stage_kind", "devices"), ("stage_size", "a b"),
        ("stage_soak", "0"), ("gate.memory", "on"), ("gate.memory.max_ratio", "0"),
        ("gate.error_rate", "on"), ("gate.error_rate.max_rise", "300"), ("max_per_minute", "0"),
        ("window_days", "every day"), ("window_begin", "25:00"), ("window_end", "06:00"),
        ("window_zone", "UTC"), ("offline_expire", "-1d"), ("joiners", "nobody"),
    ]  # fmt: skip
    spec, errors = Draft.of(sent).spec()
    assert spec is None
    assert set(errors) == {
        "stage-0-size", "stage-0-soak", "gate.memory.max_ratio", "gate.error_rate.max_rise",
        "max_per_minute", "window-0", "offline_expire", "joiners",
    }  # fmt: skip


def test_an_empty_form_says_what_is_missing() -> None:
    spec, errors = Draft.of([]).spec()
    assert spec is None
    assert {"package", "target"} <= set(errors)


def test_stages_that_overlap_are_told_at_the_stages() -> None:
    sent = [("package", "m@1.0.0"), ("all", "on")]
    for size in ("50", "20"):
        sent += [("stage_kind", "percent"), ("stage_size", size), ("stage_soak", "1m")]
    _, errors = Draft.of(sent).spec()
    assert "overlap" in errors["stages"][0]


def test_what_the_form_begins_with_is_what_the_spec_has() -> None:
    draft = Draft.usual(MODEL)
    spec, errors = Draft(
        {**draft.values, "all": "on"}, draft.stages, draft.windows, draft.gates
    ).spec()
    assert not errors
    assert spec == RolloutSpec.model_validate(
        {"package": {"name": NEW["name"], "version": NEW["version"]}, "target": {"all": True}}
    )


@pytest.mark.parametrize(
    ("what", "stages", "windows"),
    [("add-stage", 4, 0), ("remove-stage-0", 2, 0), ("remove-stage-9", 3, 0), ("add-window", 3, 1),
     ("remove-window-0", 3, 0), ("remove-stage-x", 3, 0), ("", 3, 0), ("explode-stage-1", 3, 0)],
)  # fmt: skip
def test_rows_come_and_go(what: str, stages: int, windows: int) -> None:
    draft = Draft.usual().changed(what)
    assert (len(draft.stages), len(draft.windows)) == (stages, windows)


def test_addresses_come_back_as_they_were() -> None:
    said = {"q": "a b&c", "state": "failed", "stage": "2", "page": "3"}
    members = MembersState.of("/rollouts/r-1", said)
    assert members.address() == "/rollouts/r-1?q=a+b%26c&state=failed&stage=2&page=3"
    assert members.address(stage=1).endswith("stage=1")
    assert members.filter().stage == 1
    assert not MembersState.of("/x", {"state": "gone", "stage": "0", "q": " "}).filtered
    listed = RolloutsState.of({"state": "running", "page": "2"})
    assert listed.filter(final=True) is None
    assert listed.filter(final=False) is not None
    assert listed.address() == "/rollouts?state=running&page=2"
    log = AuditState.of({"since": "2026-11-25", "until": "2026-11-25", "actor": "engine"})
    asked = log.filter()
    assert asked.since_ms is not None
    assert asked.until_ms is not None
    assert asked.until_ms - asked.since_ms == 86_400_000
    assert log.address() == "/audit?actor=engine&since=2026-11-25&until=2026-11-25"
    assert not AuditState.of({"page": "7"}).filtered


def test_evidence_is_bounded_and_plain() -> None:
    text = evidence_text({"a": {"b": [1.5, None]}, "turns \u202e the line": "x\x00y"})
    assert '    "b": [' in text
    assert "\u202e" not in text
    assert "\x00" not in text
    long = evidence_text({"all": list(range(5000))})
    assert len(long.splitlines()) == MAX_LINES + 1


def test_a_target_in_words() -> None:
    assert target_words(Target(all=True)) == "all devices"
    assert target_words(Target(query="f1<70")) == "all devices; of those: f1<70"
    assert target_words(Target(groups=["a", "b"], tags=["c"])) == "groups a, b, and tag c"
    named = target_words(Target(devices=[f"d{number}" for number in range(14)]))
    assert named.startswith("14 devices: d0, ")
    assert named.endswith("and 4 more")


def package(**fields: Any) -> PackageView:
    return PackageView.model_validate(
        {**OLD, "bytes": 1, "precision": "int8", "architecture": {}, "licence": None, "scores": [],
         "cards": [], "baseline": None, "forced": None, "first_seen_ms": 0, "last_seen_ms": 0,
         "gone_ms": None, "devices": 0} | fields
    )  # fmt: skip


def test_the_packaged_card_comes_first() -> None:
    cards = score_cards(
        package(cards=[{"variant": "fp32"}, {"variant": "int8", "packaged": True, "f1": 75.97}])
    )
    assert [(one.variant, one.f1) for one in cards] == [("int8", 75.97), ("fp32", None)]


def test_a_card_of_anything_is_shown_as_far_as_it_goes() -> None:
    (card,) = score_cards(
        package(cards=[{"variant": 7, "f1": "75", "p95_ms": float("nan"), "packaged": "yes",
                        "f1_interval": [1, "x"], "questions": True,
                        "exact_match_interval": [1, 2]}])
    )  # fmt: skip
    assert (card.variant, card.f1, card.p95_ms, card.packaged) == ("", None, None, False)
    assert (card.f1_interval, card.questions) == (None, None)
    assert card.exact_match_interval == (1.0, 2.0)
    assert not architecture_words({"layers": "three"})


def test_a_manifest_without_cards_shows_its_scores() -> None:
    scores = [{"precision": "fp32", "f1": 76.2}, {"precision": "int8", "f1": 76.0}]
    assert [one.packaged for one in score_cards(package(scores=scores))] == [True, False]
