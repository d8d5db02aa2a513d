"""What simulated devices measure: by a seed, and such as real ones would."""

from __future__ import annotations

import random
import statistics

import pytest

from edgeqa.errors import ConfigError
from edgeqa.histogram import Histogram
from edgeqa.messages import ModelRef
from edgeqa.telemetry_messages import Evaluation, Outboxed, Telemetry, Trigger
from edgeqa_cloud.simulate import quality
from edgeqa_cloud.simulate.measure import Loaded, Measured
from edgeqa_cloud.simulate.models import BUILT_IN, SimulatedModel, known_models, parse_model
from edgeqa_cloud.simulate.physics import Character, Climate, demand, live

NOON_S = 12 * 3600.0
NIGHT_S = 1 * 3600.0
GOOD = SimulatedModel(name="good", version="1.0.0", em=70, f1=80, p50=40, p95=80)
BAD = SimulatedModel(name="bad", version="1.0.0", em=40, f1=52, p50=40, p95=80)
RECORD = {"device": "d", "boot_id": "b", "seq": 1, "time_ms": 0, "uptime_ms": 0}


def character(**fields: object) -> Character:
    drawn = {
        "busiest": 10.0,
        "shift_s": 0.0,
        "ambient_celsius": 24.0,
        "heating_celsius": 36.0,
        "slowness": 1.0,
        "weak_supply": False,
        "memory_total_bytes": 8 << 30,
        "disk_total_bytes": 64 << 30,
    }
    return Character(**{**drawn, **fields})  # type: ignore[arg-type]  # by name


def loaded(model: SimulatedModel) -> Loaded:
    return Loaded(model, model.ref())


def measured(seed: object, **fields: object) -> Measured:
    return Measured(character=character(**fields), rng=random.Random(str(seed)), questions=50)


def telemetry(device: Measured, now_s: float = NOON_S, model: SimulatedModel = GOOD) -> Telemetry:
    fields = device.telemetry(
        loaded(model),
        now_s=now_s,
        interval_s=60.0,
        uptime_s=5.0,
        reconnects=0,
        outbox=Outboxed(waiting=0, bytes=0),
    )
    return Telemetry.model_validate({**RECORD, **fields})


def test_a_seed_gives_the_same_device() -> None:
    def one(seed: int) -> list[object]:
        device = measured(seed)
        return [telemetry(device), telemetry(device), device.evaluation(loaded(GOOD), None,
                trigger=Trigger.SCHEDULE)]  # fmt: skip

    assert one(1) == one(1)
    assert one(1) != one(2)


def test_nights_are_quiet() -> None:
    days = {demand(character(), NOON_S + day * 86_400) for day in range(3)}
    assert len(days) == 1
    assert demand(character(), NIGHT_S) < 0.2 * days.pop()


def test_times_are_those_of_the_model() -> None:
    device = measured("times")
    parts = [telemetry(device).latency for _ in range(200)]
    inference = Histogram.merged(p.inference for p in parts if p and p.inference)
    assert inference.count > 1000
    # Half a bucket either way is 4.4 %, and chance.
    assert inference.quantile(0.5) == pytest.approx(GOOD.p50, rel=0.1)
    assert inference.quantile(0.95) == pytest.approx(GOOD.p95_ms, rel=0.15)


def test_counts_of_a_record_agree_with_each_other() -> None:
    device = measured("counts", busiest=300.0)
    for _ in range(50):
        record = telemetry(device)
        assert record.latency is not None
        assert record.latency.total is not None
        assert record.latency.inference is not None
        assert record.outcomes["answered"] == record.latency.total.count
        assert record.latency.total.sum >= record.latency.inference.sum
        assert record.queue_depth <= record.queue_depth_max


def test_what_a_board_cannot_serve_is_refused() -> None:
    record = telemetry(measured("flood", busiest=100_000.0))
    assert record.outcomes["busy"] > record.outcomes["answered"] > 0
    assert record.cpu_load is not None
    assert record.cpu_load > 0.9


def test_a_hot_board_throttles_and_answers_slower() -> None:
    hot = character(heating_celsius=70.0, busiest=2000.0)
    rng = random.Random("hot")
    climate = Climate(40.0)
    for _ in range(30):
        interval = live(hot, climate, GOOD, now_s=NOON_S, interval_s=60.0, rng=rng)
        climate = interval.climate
    assert "throttled" in interval.throttled
    assert 80 < interval.temperature_celsius < 120
    assert interval.latency is not None
    assert interval.latency.inference is not None
    assert (interval.latency.inference.quantile(0.5) or 0) > 1.2 * GOOD.p50


def test_an_idle_board_is_cool_and_unthrottled() -> None:
    device = measured("idle", busiest=0.0)
    records = [telemetry(device) for _ in range(30)]
    assert all(r.throttled == [] and r.latency is None and not r.outcomes for r in records)
    assert all(35 < (r.temperature_celsius or 0) < 50 for r in records)


@pytest.mark.parametrize("model", [GOOD, BAD, *BUILT_IN], ids=lambda m: m.name)
def test_scores_are_around_the_truth(model: SimulatedModel) -> None:
    rng = random.Random("scores")
    marks = [quality.marks(model, index, 400, rng) for index in range(quality.SLICES)]
    assert statistics.fmean(m.exact_match for m in marks) == pytest.approx(model.em, abs=1.0)
    assert statistics.fmean(m.mean_f1 for m in marks) == pytest.approx(model.f1, abs=1.0)


def test_intervals_cover_the_truth_about_as_often_as_they_promise() -> None:
    rng = random.Random("cover")
    model = SimulatedModel(name="m", version="1.0.0", em=60, f1=60)
    flat = [[rng.random() < 0.6 for _ in range(100)] for _ in range(1000)]
    assert model.em == 60
    covered = sum(
        low <= 60 <= high for low, high in (quality.wilson(sum(x) / 100, 100) for x in flat)
    )
    assert 920 <= covered <= 980


def test_a_worse_model_shows_in_pairs() -> None:
    device = measured("pairs")
    found = [
        Evaluation.model_validate(
            {**RECORD, **device.evaluation(loaded(BAD), loaded(GOOD), trigger=Trigger.SWAP)}
        )
        for _ in range(20)
    ]
    assert all(one.paired and one.paired.previous.name == "good" for one in found)
    assert statistics.fmean(one.paired.f1_difference for one in found if one.paired) < -15
    assert {one.slice.id for one in found} == {
        quality.slice_of(one.slice.index).id for one in found
    }
    assert len({one.slice.id for one in found}) == 20  # it rotates


@pytest.mark.parametrize(("em", "f1"), [(0, 0), (100, 100), (40, 95), (80, 80)])
def test_extreme_models_give_valid_records(em: float, f1: float) -> None:
    model = SimulatedModel(name="m", version="1.0.0", em=em, f1=f1)
    device = measured("extreme")
    for trigger in Trigger:
        fields = device.evaluation(loaded(model), loaded(GOOD), trigger=trigger, questions=1)
        Evaluation.model_validate({**RECORD, **fields})


def test_a_model_is_read_from_a_flag() -> None:
    digest = "sha256:" + "a" * 64
    text = f"tiny-squad@1.2.3:em=66:f1=76:p50=20:p95=33:memory=90:fail=0.1:dies=0.2:digest={digest}"
    model = parse_model(text)
    assert (model.em, model.f1, model.p50, model.p95_ms, model.memory) == (66, 76, 20, 33, 90)
    assert (model.fail, model.dies) == (0.1, 0.2)
    assert model.ref("sha256:" + "b" * 64) == ModelRef(
        name="tiny-squad", version="1.2.3", digest=digest
    )


@pytest.mark.parametrize(
    "text",
    ["", "name", "name@1", "na me@1.0.0", "n@1.0.0:em", "n@1.0.0:em=140", "n@1.0.0:em=nan",
     "n@1.0.0:f1=x", "n@1.0.0:colour=red", "n@1.0.0:name=x", "n@1.0.0:digest=sha256:ff",
     "n@1.0.0:digest=sha256", "n@1.0.0:p50=0"],
)  # fmt: skip
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^model: "):
        parse_model(text)


def test_devices_start_with_the_first_model_that_is_given() -> None:
    assert known_models([])[0] == BUILT_IN[0]
    first, table = known_models(["a@1.0.0:em=1:f1=2", "b@1.0.0"])
    assert first.name == "a"
    assert {("a", "1.0.0"), ("b", "1.0.0"), ("minilm-l6-squad", "0.1.1")} <= set(table)
