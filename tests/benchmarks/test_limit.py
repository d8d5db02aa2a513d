"""The limit: which products a model needs, which kernels do them, and what the command says."""

import subprocess
import sys
from pathlib import Path

import pytest
from gemm import kernels, operators, timing
from gemm.products import Architecture, Product, products, read_architecture, weight_bytes
from gemm.search import quickest
from limit import share, table

from edgeqa.errors import DataError
from edgeqa.manifest import MODEL_FILE, open_package
from edgeqa_agent.settings import default_package

REPOSITORY = Path(__file__).parents[2]
DISTILBERT = Architecture(layers=6, hidden=768, heads=12, intermediate=3072)


def test_distilberts_products_are_those_of_its_paper() -> None:
    # A multiplication and an addition for each of the encoder's 42.5 M weights and each token, two
    # products of queries, keys and values, and the head.
    weights = 6 * (4 * 768 * 768 + 2 * 768 * 3072)
    attention = 6 * 2 * 160 * 160 * 768
    expected = 2 * (160 * weights + attention + 160 * 768 * 2)
    assert sum(product.operations for product in products(DISTILBERT, 160)) == expected


def test_the_architecture_is_read_from_a_fused_int8_graph() -> None:
    model = default_package() / MODEL_FILE
    assert read_architecture(model) == Architecture(
        layers=6, hidden=384, heads=12, intermediate=1536
    )


def test_what_a_window_reads_is_not_the_table_of_words() -> None:
    model = default_package() / MODEL_FILE
    encoder = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert encoder < weight_bytes(model) < model.stat().st_size - 30_000 * 384


def test_what_is_not_a_graph_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"model\.onnx"):
        read_architecture(tmp_path / "model.onnx")


@pytest.mark.parametrize("precision", [kernels.FP32, kernels.INT8])
@pytest.mark.parametrize(
    "product",
    [
        Product("weight", 16, 64, 32, count=2),
        Product("batch", 16, 8, 16, count=2, batch=4, weight=False),
    ],
    ids=lambda product: product.name,
)
def test_each_product_has_a_kernel(precision: str, product: Product) -> None:
    best = quickest(precision, product, 1)
    assert best.rate > 0
    best.run()


def test_the_shares_are_ratios_of_times_in_the_same_run() -> None:
    peak = quickest(kernels.INT8, Product("peak", 64, 384, 384), 1)
    one = share(open_package(default_package()), 32, 1, peak=peak, rounds=2)
    assert (one.tokens, one.threads, one.precision) == (32, 1, "int8")
    assert one.limit_ms == pytest.approx(one.giga_operations / one.peak * 1000)
    assert one.products_ms == pytest.approx(sum(p.milliseconds for p in one.products), rel=0.5)
    assert one.share_low <= one.share <= one.share_high
    assert f"| {one.model} | 32 | 1 |" in table([one])


def test_the_profile_names_every_operator_that_ran() -> None:
    found = operators.profile(default_package() / MODEL_FILE, 32, 1)
    assert sum(operator.share for operator in found) == pytest.approx(1)
    assert {operator.name for operator in found} >= {"DynamicQuantizeMatMul"}
    assert [o.milliseconds for o in found] == sorted((o.milliseconds for o in found), reverse=True)


def test_sides_take_turns_and_each_begins_once() -> None:
    order: list[str] = []
    sides = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    taken = timing.turns(sides, rounds=2, turn_s=0)
    assert [len(seconds) for seconds in taken.values()] == [2, 2]
    # Once each to warm up, then a call that is not counted and one that is; b begins round two.
    assert "".join(order) == "ab" + "aabb" + "bbaa"


def test_the_command_refuses_what_is_no_package(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/limit.py", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode not in {0, 1}
    assert done.stderr.startswith("limit: ")
    assert len(done.stderr.strip().splitlines()) == 1
