"""ONNX files quantized by ONNX Runtime's own tools."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from runner.data.calibration import full_batches
from runner.data.classes import Array
from runner.data.extras import need
from runner.edge.quantizers import told
from runner.edge.quantizers.recipe import Recipe
from runner.errors import TaskError

GROUPS = (16, 32, 64, 128, 256)
_ROWS_AT_ONCE = 50
# The first with integers of 4 bit.
_INT4_OPSET = 21
# Constants with more values than any layer has channels are weights, and differ.
_LONGEST_SHARED = 65536
_WHO = "ONNX Runtime's quantizer"
# What tells that a CPU adds up products of unsigned and signed bytes at once, and in 32 bit.
_VNNI = frozenset({"avx_vnni", "avx512_vnni"})
# What a quantizer may touch; all else moves numbers about, or is left in float by all of them.
_COMPUTING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Softmax", "Gather")


def layers(path: Path) -> list[str]:
    """The modules that the file's operators come from, in its order, of those that compute."""
    import onnx

    nodes = onnx.load(str(path)).graph.node
    found = [node.name.partition("/")[0] for node in nodes if node.op_type in _COMPUTING]
    return list(dict.fromkeys(found))


def has_vnni() -> bool:
    """Whether this CPU has the instructions (VNNI) that unsigned activations are fast with.

    On x86 without them, ONNX Runtime adds up two such products in 16 bit, which can overflow.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _VNNI.isdisjoint(flags.split())


def quantize(source: Path, target: Path, recipe: Recipe, samples: Array) -> None:
    """Writes the model in ``source`` quantized as ``recipe`` says.

    int8-static   signed 8-bit weights and 8-bit activations between Quantize and Dequantize nodes,
                  with the activations' ranges as ``samples`` (rows, *input_shape) show them; these
                  are unsigned if it is for this CPU and that ``has_vnni``
    int8-dynamic  8-bit weights of matrix products; activations are quantized at each call.
                  Convolutions are left in float: ONNX Runtime's kernels of this kind are slower
    int8-weight,  weights of matrix products in groups (MatMulNBits) and of convolutions by channel,
    int4-weight   which are computed with in float or int8; all else is left in float
    """
    need("onnxruntime", package="onnxruntime", extra="edge", what=target.name)
    with _quiet():
        if recipe.scheme == "int8-static":
            _static(source, target, recipe, samples)
        elif recipe.scheme == "int8-dynamic":
            _dynamic(source, target, recipe)
        else:
            _weights(source, target, recipe, bits=4 if recipe.scheme == "int4-weight" else 8)


class _Reader:
    """Samples in batches, as the calibration asks for them."""

    def __init__(self, taken: Any, samples: Array) -> None:
        fixed = taken.type.tensor_type.shape.dim[0].dim_value
        parts = (
            full_batches(samples, fixed)
            if fixed
            else np.split(samples, range(_ROWS_AT_ONCE, len(samples), _ROWS_AT_ONCE))
        )
        self._left: Iterator[dict[str, Array]] = iter({taken.name: part} for part in parts)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, None after the last."""
        return next(self._left, None)


def _static(source: Path, target: Path, recipe: Recipe, samples: Array) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    CalibrationDataReader.register(_Reader)
    is_unsigned = recipe.is_for_here and has_vnni()
    activations = QuantType.QUInt8 if is_unsigned else QuantType.QInt8
    model = onnx.load(str(source))
    nodes = recipe.left(node.name for node in model.graph.node)
    with told(_WHO, recipe.scheme):
        quantize_static(
            model,
            str(target),
            _Reader(model.graph.input[0], samples),
            per_channel=recipe.granularity == "channel",
            activation_type=activations,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=nodes,
            extra_options={"ActivationSymmetric": recipe.is_symmetric},
            calibration_cache_path=source.with_suffix(".ranges"),
        )
    _share(target)


def _share(file: Path) -> None:
    """Keeps one of all constants that are the same: every channel has a zero point of its own."""
    import onnx_ir
    from onnx_ir.passes.common import DeduplicateInitializersPass

    model = onnx_ir.load(file)
    shared = DeduplicateInitializersPass(size_limit=_LONGEST_SHARED)(model).model
    # Not over the file that its weights are still read from.
    unfinished = file.with_suffix(".shared")
    onnx_ir.save(shared, unfinished)
    unfinished.replace(file)


def _dynamic(source: Path, target: Path, recipe: Recipe) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(source))
    nodes = recipe.left(node.name for node in model.graph.node)
    with told(_WHO, recipe.scheme):
        quantize_dynamic(
            model,
            str(target),
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=recipe.granularity == "channel",
            weight_type=QuantType.QInt8,
            nodes_to_exclude=nodes,
        )


def _weights(source: Path, target: Path, recipe: Recipe, *, bits: int) -> None:
    if recipe.granularity != "group" or recipe.group_size not in GROUPS:
        raise TaskError(
            f"ONNX Runtime stores weights in groups of {', '.join(map(str, GROUPS))}, and "
            f"{recipe.granularity} {recipe.group_size or ''} is asked for",
            hint="leave granularity and group_size out",
        )
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.quantization.onnx_model import ONNXModel

    whole = onnx.load(str(source))
    if bits == 4:
        with told(_WHO, recipe.scheme):
            whole = onnx.version_converter.convert_version(whole, _INT4_OPSET)
    model = ONNXModel(whole)
    model.replace_gemm_with_matmul()
    nodes = recipe.left(node.name for node in model.graph().node)
    stored: dict[str, str] = {}
    for node in [*model.graph().node]:
        if node.op_type == "Conv" and node.name not in nodes:
            _store(model, node, bits=bits, stored=stored)
    model.clean_initializers()
    quantizer = MatMulNBitsQuantizer(
        model.model,
        bits=bits,
        block_size=recipe.group_size,
        is_symmetric=True,
        accuracy_level=4,
        nodes_to_exclude=nodes,
    )
    with told(_WHO, recipe.scheme):
        quantizer.process()
    quantizer.model.save_model_to_file(str(target))


def _store(model: Any, node: Any, *, bits: int, stored: dict[str, str]) -> None:
    """Puts a convolution's weights into so many bits, each output channel with a scale of its own.

    They are floats again before they are multiplied with, which the runtime does as it loads them.
    Weights of several convolutions are ``stored`` once: by name, what they are called as floats.
    """
    import ml_dtypes
    from onnx import helper, numpy_helper

    if node.input[1] in stored:
        node.input[1] = stored[node.input[1]]
        return
    weight = model.get_initializer(node.input[1])
    if weight is None:
        return
    values = numpy_helper.to_array(weight)
    most = 2 ** (bits - 1) - 1
    scale = np.abs(values).reshape(len(values), -1).max(axis=1) / most
    scale = np.where(scale == 0.0, 1.0, scale).astype(np.float32)
    whole = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1))).clip(-most - 1, most)
    small = whole.astype(ml_dtypes.int4 if bits == 4 else np.int8)
    names = [f"{weight.name}_{part}" for part in ("stored", "scale", "float")]
    model.add_initializer(numpy_helper.from_array(small, names[0]))
    model.add_initializer(numpy_helper.from_array(scale, names[1]))
    layer = node.name.rpartition("/")[0]
    widened = helper.make_node(
        "DequantizeLinear", names[:2], names[2:], name=f"{layer}/Dequantize", axis=0
    )
    model.graph().node.insert(0, widened)
    stored[weight.name] = node.input[1] = names[2]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that its tools log, and without the handler that they set up for that."""
    root: Any = logging.getLogger()
    handlers, disabled = [*root.handlers], root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
