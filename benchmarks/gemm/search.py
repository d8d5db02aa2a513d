"""Which kernel does a product the quickest."""

from __future__ import annotations

from dataclasses import dataclass

from gemm.kernels import FP32, Run, kernels
from gemm.products import Product
from gemm.timing import turn, turns

_TRIES = 7
_TRY_S = 0.02
# What is so many times behind when it is first tried is not tried again: some take a hundred times
# as long.
_FAR = 5


@dataclass(frozen=True, slots=True)
class Best:
    """The quickest kernel for a product; `rate` in 10^9 operations a second."""

    kernel: str
    product: Product
    rate: float
    run: Run


def quickest(precision: str, product: Product, threads: int) -> Best:
    """The quickest kernel for a product, of those that can do it.

    int8 may also fall back to fp32, as a product of two activations is not worth its quantising
    everywhere.
    """
    candidates = kernels(precision) + ([] if product.weight else kernels(FP32))
    runs: dict[str, Run] = {}
    for kernel in candidates:
        try:
            runs[kernel.name] = kernel.prepare(product, threads)
            runs[kernel.name]()
        except Exception:  # noqa: BLE001  # whatever a library says of a product it cannot do
            runs.pop(kernel.name, None)
    first = {name: turn(run, 0) for name, run in runs.items()}
    near = {name: run for name, run in runs.items() if first[name] < _FAR * min(first.values())}
    taken = {name: min(seconds) for name, seconds in turns(near, _TRIES, _TRY_S).items()}
    name = min(taken, key=taken.__getitem__)
    return Best(name, product, product.operations / taken[name] / 1e9, runs[name])
