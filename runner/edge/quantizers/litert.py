"""LiteRT files, quantized by Google's ai-edge-quantizer."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from runner.data.calibration import full_batches
from runner.data.classes import Array
from runner.data.extras import need
from runner.edge.quantizers import told
from runner.edge.quantizers.recipe import Recipe
from runner.errors import TaskError

BLOCKS = (32, 64, 128, 256)


def quantize(source: Path, target: Path, recipe: Recipe, samples: Array) -> None:
    """Writes the LiteRT model in ``source``, which holds floats, quantized as ``recipe`` says.

    int8-static   8-bit weights and activations, with the activations' ranges as ``samples`` (rows,
                  *input_shape) show them; inputs and outputs are int8, too
    int8-dynamic  8-bit weights; activations are quantized at each call
    int8-weight   8-bit weights, which are computed with in float
    int4-weight   4-bit weights; activations are quantized to 8 bit at each call
    """
    recipe.check("LiteRT", {"int8-static": ("channel",), "int8-weight": ("channel",)})
    need("ai_edge_quantizer", package="ai-edge-quantizer", extra="edge", what=target.name)
    with _quiet():
        from ai_edge_quantizer import quantizer

        with told("LiteRT's quantizer", recipe.scheme):
            made = quantizer.Quantizer(str(source))
            _describe(made, recipe)
            ranges = None
            if made.need_calibration:
                ranges = made.calibrate(_signature(source, samples), num_threads=1)
            made.quantize(ranges).export_model(str(target), overwrite=True)


def _describe(made: Any, recipe: Recipe) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    every = qtyping.TFLOperationName.ALL_SUPPORTED
    bits = 4 if recipe.scheme == "int4-weight" else 8
    if recipe.scheme == "int8-static":
        made.add_static_config(
            regex=".*", operation_name=every, activation_num_bits=8, weight_num_bits=8
        )
    elif recipe.scheme == "int8-weight":
        made.add_weight_only_config(regex=".*", operation_name=every, num_bits=8)
    else:
        made.add_dynamic_config(
            regex=".*", operation_name=every, num_bits=bits, granularity=_granularity(recipe)
        )
    for name in recipe.floats:
        made.update_quantization_recipe(
            regex=_scope(name), operation_name=every, algorithm_key=AlgorithmName.NO_QUANTIZE
        )


def _granularity(recipe: Recipe) -> Any:
    from ai_edge_quantizer.qtyping import QuantGranularity

    if recipe.granularity != "group":
        return getattr(QuantGranularity, f"{recipe.granularity.upper()}WISE")
    if recipe.group_size not in BLOCKS:
        raise TaskError(
            f"LiteRT has no groups of {recipe.group_size} weights",
            hint=f"take a group_size of {', '.join(map(str, BLOCKS))}, or granularity: channel",
        )
    return getattr(QuantGranularity, f"BLOCKWISE_{recipe.group_size}")


def _scope(module: str) -> str:
    """What matches the operators of a module, ``net.Block_0/torch.nn.Linear_up;`` for ``0.up``."""
    return "/".join(rf"[^/;]*_{re.escape(part)}" for part in module.split(".")) + ";"


def _signature(source: Path, samples: Array) -> dict[str, list[dict[str, Array]]]:
    """Samples, so many at once as the model takes, by the names of the signature for them."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(source))
    (name, taken), *_ = interpreter.get_signature_list().items()
    (inputs,) = taken["inputs"]
    rows = int(interpreter.get_input_details()[0]["shape"][0])
    return {name: [{inputs: part} for part in full_batches(samples, rows)]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without its bars of progress, the sizes that it prints, and a warning of its own doing."""
    with (
        warnings.catch_warnings(action="ignore", category=UserWarning),
        redirect_stdout(StringIO()),
        redirect_stderr(StringIO()),
    ):
        yield
