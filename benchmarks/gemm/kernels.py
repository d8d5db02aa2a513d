"""The matrix products that can be reached from Python here, each timed with weights of its own.

A kernel prepares one `Product` (constant weights packed, buffers there) and gives a function that
runs all of it once. torch's are left out where torch is not installed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from gemm.products import Product

Run = Callable[[], object]

FP32, INT8 = "fp32", "int8"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One way to multiply.

    Attributes:
        prepare: with a product and a number of threads; raises whatever its library raises where
            it cannot do that product.
    """

    name: str
    precision: str
    prepare: Callable[[Product, int], Run]


def kernels(precision: str) -> list[Kernel]:
    """All that are installed here."""
    found = [
        Kernel("onnxruntime MatMul", FP32, _onnx_float),
        Kernel("onnxruntime MatMulInteger, u8 by s8", INT8, _onnx_u8s8),
        # Slow on x86-64, and what ARM64's kernels are made for.
        Kernel("onnxruntime MatMulInteger, s8 by s8", INT8, _onnx_s8s8),
        Kernel("onnxruntime DynamicQuantizeMatMul", INT8, _onnx_dynamic),
    ]
    try:
        import torch  # noqa: F401  # whether it is there
    except ImportError:
        pass
    else:
        found += [
            Kernel("torch matmul", FP32, _torch_float),
            Kernel("torch mkldnn linear", FP32, _torch_mkldnn),
            Kernel("torch _int_mm", INT8, _torch_int),
            Kernel("torch quantized linear", INT8, _torch_quantized),
        ]
    return [kernel for kernel in found if kernel.precision == precision]


def _onnx_float(product: Product, threads: int) -> Run:
    return _onnx(product, threads, "MatMul", np.float32, np.float32, np.float32)


def _onnx_u8s8(product: Product, threads: int) -> Run:
    return _onnx(product, threads, "MatMulInteger", np.uint8, np.int8, np.int32)


def _onnx_s8s8(product: Product, threads: int) -> Run:
    return _onnx(product, threads, "MatMulInteger", np.int8, np.int8, np.int32)


def _onnx_dynamic(product: Product, threads: int) -> Run:
    if not product.weight:
        raise NotImplementedError("wants a constant right side")
    return _onnx(product, threads, "DynamicQuantizeMatMul", np.float32, np.int8, np.float32)


def _onnx(product: Product, threads: int, operator: str, left: Any, right: Any, out: Any) -> Run:
    """A graph of `count` products with the same left side, outputs bound so that none is copied."""
    from onnx import helper, numpy_helper

    random = np.random.default_rng(0)
    batch = (product.batch,) if product.batch > 1 else ()
    of = {
        "a": (*batch, product.rows, product.inner),
        "b": (*batch, product.inner, product.columns),
        "y": (*batch, product.rows, product.columns),
    }
    fused = operator == "DynamicQuantizeMatMul"
    nodes, constants, outputs = [], [], []
    feeds = {"a": _values(random, of["a"], left)}
    if fused:
        constants.append(numpy_helper.from_array(np.full(product.columns, 0.01, np.float32), "s"))
    for index in range(product.count):
        weight = f"b{index if product.weight else 0}"
        if product.weight:
            constants.append(numpy_helper.from_array(_values(random, of["b"], right), weight))
        else:
            feeds[weight] = _values(random, of["b"], right)
        inputs = ["a", weight, "s"] if fused else ["a", weight]
        domain = "com.microsoft" if fused else ""
        nodes.append(helper.make_node(operator, inputs, [f"y{index}"], domain=domain))
        outputs.append(helper.make_tensor_value_info(f"y{index}", _type(out), of["y"]))
    inputs_info = [
        helper.make_tensor_value_info(name, _type(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "products", inputs_info, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Spin within a run, as that is quickest, and leave the cores to the next side after it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for name, value in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))
    for info in outputs:
        place = ort.OrtValue.ortvalue_from_numpy(np.empty(of["y"], out))
        binding.bind_ortvalue_output(info.name, place)
    return lambda: session.run_with_iobinding(binding)


def _values(random: np.random.Generator, shape: tuple[int, ...], kind: Any) -> np.ndarray:
    if np.dtype(kind).kind == "f":
        return random.standard_normal(shape, dtype=np.float32)
    return random.integers(0, 100, shape).astype(kind)


def _type(kind: Any) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))


def _torch_float(product: Product, threads: int) -> Run:
    left, rights = _torch_sides(product)
    outs = [left @ right for right in rights]
    return _torch_run(
        threads, lambda torch, i: torch.matmul(left, rights[i], out=outs[i]), len(rights)
    )


def _torch_mkldnn(product: Product, threads: int) -> Run:
    """oneDNN with its own layout of the weights."""
    import torch
    from torch.utils import mkldnn

    if not product.weight:
        raise NotImplementedError("wants a constant right side")
    left = torch.randn(product.rows, product.inner).to_mkldnn()
    pack: Callable[[Any], Any] = mkldnn.to_mkldnn
    layers = [
        pack(torch.nn.Linear(product.inner, product.columns, bias=False))
        for _ in range(product.count)
    ]
    return _torch_run(threads, lambda _, i: layers[i](left), len(layers))


def _torch_int(product: Product, threads: int) -> Run:
    import torch

    if product.batch > 1:
        raise NotImplementedError("multiplies two matrices only")
    multiply = torch._int_mm  # noqa: SLF001  # torch has no other
    left = torch.randint(-100, 100, (product.rows, product.inner), dtype=torch.int8)
    rights = [
        torch.randint(-100, 100, (product.inner, product.columns), dtype=torch.int8)
        for _ in range(product.count)
    ]
    outs = [multiply(left, right) for right in rights]
    return _torch_run(threads, lambda _, i: multiply(left, rights[i], out=outs[i]), len(rights))


def _torch_quantized(product: Product, threads: int) -> Run:
    import torch

    if not product.weight:
        raise NotImplementedError("wants a constant right side")
    n = product.columns
    with warnings.catch_warnings():  # torch says on each call that torchao is to follow
        warnings.simplefilter("ignore")
        left = torch.quantize_per_tensor(
            torch.randn(product.rows, product.inner), 0.03, 64, torch.quint8
        )
        packed = [
            torch.ops.quantized.linear_prepack(
                torch.quantize_per_channel(
                    torch.randn(n, product.inner),
                    torch.full((n,), 0.01),
                    torch.zeros(n, dtype=torch.long),
                    0,
                    torch.qint8,
                ),
                None,
            )
            for _ in range(product.count)
        ]
    return _torch_run(
        threads, lambda t, i: t.ops.quantized.linear(left, packed[i], 0.1, 64), len(packed)
    )


def _torch_sides(product: Product) -> tuple[Any, list[Any]]:
    import torch

    batch = (product.batch,) if product.batch > 1 else ()
    left = torch.randn(*batch, product.rows, product.inner)
    count = product.count if product.weight else 1
    rights = [torch.randn(*batch, product.inner, product.columns) for _ in range(count)]
    return left, rights * (product.count // count)


def _torch_run(threads: int, multiply: Callable[[Any, int], object], count: int) -> Run:
    import torch

    def run() -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            for index in range(count):
                multiply(torch, index)

    return run
