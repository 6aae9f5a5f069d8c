"""What the operators of a PyTorch model become in a file, told from their names before it is made.

The exporters have the last word: litert-torch and torch.onnx may fold one operator into another or
split it up, so that this says beforehand what a target will lack, and the file itself is checked
again. Names on the left are ATen's, those of LiteRT are its built-in operators, those of ONNX its
operator types at opset 17.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from runner.edge.targets import Operator

Names: TypeAlias = tuple[str, ...]

# Of shapes and constants alone, or undone by whoever makes the file.
_NOTHING = {
    "_to_copy", "alias", "arange", "clone", "contiguous", "copy", "detach", "empty", "expand",
    "full", "full_like", "lift_fresh_copy", "ones", "ones_like", "scalar_tensor", "t", "zeros",
    "zeros_like",
}  # fmt: skip

_LITERT: dict[str, Names] = {
    "convolution": ("CONV_2D",),
    "addmm": ("FULLY_CONNECTED",),
    "linear": ("FULLY_CONNECTED",),
    "mm": ("FULLY_CONNECTED",),
    "bmm": ("BATCH_MATMUL",),
    "baddbmm": ("BATCH_MATMUL", "ADD"),
    "native_batch_norm": (),  # folded into the convolution before it
    "native_layer_norm": ("MEAN", "SUB", "MUL", "RSQRT", "ADD"),
    "native_group_norm": ("MEAN", "SUB", "MUL", "RSQRT", "ADD"),
    "relu": ("RELU",),
    "hardtanh": ("RELU6",),
    "gelu": ("GELU",),
    "silu": ("LOGISTIC", "MUL"),
    "sigmoid": ("LOGISTIC",),
    "hardswish": ("HARD_SWISH",),
    "leaky_relu": ("LEAKY_RELU",),
    "elu": ("ELU",),
    "tanh": ("TANH",),
    "_softmax": ("SOFTMAX",),
    "_safe_softmax": ("SOFTMAX",),
    "_log_softmax": ("LOG_SOFTMAX",),
    "max_pool2d_with_indices": ("MAX_POOL_2D",),
    "avg_pool2d": ("AVERAGE_POOL_2D",),
    "_adaptive_avg_pool2d": ("MEAN",),
    "mean": ("MEAN",),
    "sum": ("SUM",),
    "amax": ("REDUCE_MAX",),
    "amin": ("REDUCE_MIN",),
    "add": ("ADD",),
    "sub": ("SUB",),
    "rsub": ("SUB",),
    "mul": ("MUL",),
    "div": ("DIV",),
    "neg": ("NEG",),
    "abs": ("ABS",),
    "exp": ("EXP",),
    "log": ("LOG",),
    "pow": ("POW",),
    "sqrt": ("SQRT",),
    "rsqrt": ("RSQRT",),
    "sin": ("SIN",),
    "cos": ("COS",),
    "maximum": ("MAXIMUM",),
    "minimum": ("MINIMUM",),
    "clamp": ("MAXIMUM", "MINIMUM"),
    "view": ("RESHAPE",),
    "_unsafe_view": ("RESHAPE",),
    "reshape": ("RESHAPE",),
    "squeeze": ("RESHAPE",),
    "unsqueeze": ("RESHAPE",),
    "permute": ("TRANSPOSE",),
    "transpose": ("TRANSPOSE",),
    "cat": ("CONCATENATION",),
    "stack": ("PACK",),
    "slice": ("STRIDED_SLICE",),
    "select": ("STRIDED_SLICE",),
    "unbind": ("STRIDED_SLICE",),
    "split": ("SPLIT",),
    "split_with_sizes": ("SPLIT",),
    "constant_pad_nd": ("PAD",),
    "embedding": ("GATHER",),
    "index": ("GATHER_ND",),
    "gather": ("GATHER",),
    "where": ("SELECT_V2",),
    "upsample_nearest2d": ("RESIZE_NEAREST_NEIGHBOR",),
    "upsample_bilinear2d": ("RESIZE_BILINEAR",),
    "topk": ("TOPK_V2",),
    "cumsum": ("CUMSUM",),
    "tril": (),  # of a constant mask
    "triu": (),
}  # fmt: skip

_ONNX: dict[str, Names] = {
    "convolution": ("Conv",),
    "addmm": ("Gemm",),
    "linear": ("Gemm",),
    "mm": ("MatMul",),
    "bmm": ("MatMul",),
    "baddbmm": ("MatMul", "Add"),
    "native_batch_norm": (),
    "native_layer_norm": ("LayerNormalization",),
    "native_group_norm": ("InstanceNormalization", "Mul", "Add"),
    "relu": ("Relu",),
    "hardtanh": ("Clip",),
    "gelu": ("Div", "Erf", "Add", "Mul"),
    "silu": ("Sigmoid", "Mul"),
    "sigmoid": ("Sigmoid",),
    "hardswish": ("HardSwish",),
    "leaky_relu": ("LeakyRelu",),
    "elu": ("Elu",),
    "tanh": ("Tanh",),
    "_softmax": ("Softmax",),
    "_safe_softmax": ("Softmax",),
    "_log_softmax": ("LogSoftmax",),
    "max_pool2d_with_indices": ("MaxPool",),
    "avg_pool2d": ("AveragePool",),
    "_adaptive_avg_pool2d": ("GlobalAveragePool",),
    "mean": ("ReduceMean",),
    "sum": ("ReduceSum",),
    "amax": ("ReduceMax",),
    "amin": ("ReduceMin",),
    "add": ("Add",),
    "sub": ("Sub",),
    "rsub": ("Sub",),
    "mul": ("Mul",),
    "div": ("Div",),
    "neg": ("Neg",),
    "abs": ("Abs",),
    "exp": ("Exp",),
    "log": ("Log",),
    "pow": ("Pow",),
    "sqrt": ("Sqrt",),
    "rsqrt": ("Sqrt", "Reciprocal"),
    "sin": ("Sin",),
    "cos": ("Cos",),
    "erf": ("Erf",),
    "maximum": ("Max",),
    "minimum": ("Min",),
    "clamp": ("Clip",),
    "view": ("Reshape",),
    "_unsafe_view": ("Reshape",),
    "reshape": ("Reshape",),
    "squeeze": ("Squeeze",),
    "unsqueeze": ("Unsqueeze",),
    "permute": ("Transpose",),
    "transpose": ("Transpose",),
    "cat": ("Concat",),
    "stack": ("Unsqueeze", "Concat"),
    "slice": ("Slice",),
    "select": ("Gather",),
    "unbind": ("Slice", "Squeeze"),
    "split": ("Split",),
    "split_with_sizes": ("Split",),
    "constant_pad_nd": ("Pad",),
    "embedding": ("Gather",),
    "index": ("GatherND",),
    "gather": ("GatherElements",),
    "where": ("Where",),
    "upsample_nearest2d": ("Resize",),
    "upsample_bilinear2d": ("Resize",),
    "topk": ("TopK",),
    "cumsum": ("CumSum",),
    "tril": (),
    "triu": (),
}  # fmt: skip

TABLES: dict[str, dict[str, Names]] = {"litert": _LITERT, "onnx": _ONNX}


@dataclass(frozen=True, kw_only=True, slots=True)
class Lowered:
    """The ``operators`` of a file, and the names of those of which it ``unknown`` what comes."""

    operators: tuple[Operator, ...]
    unknown: tuple[str, ...]


def lowered(aten: Mapping[str, int], file_format: str) -> Lowered:
    """What a model of these ATen operators, each so many times, becomes in a file of the format.

    Names are as PyTorch dispatches them, such as convolution, addmm or relu_; see
    ``torchlib.costs``. Of a format without a table here, all of them are unknown.
    """
    table = TABLES.get(file_format, {})
    found: Counter[str] = Counter()
    unknown = []
    for written, count in aten.items():
        # relu_ is relu in place; _softmax is a name of its own.
        name = written if written in table else written.removesuffix("_")
        if name in _NOTHING:
            continue
        if name not in table:
            unknown.append(written)
        for made in table.get(name, ()):
            found[made] += count
    operators = tuple(Operator(name=name, count=count) for name, count in sorted(found.items()))
    return Lowered(operators=operators, unknown=tuple(sorted(unknown)))
