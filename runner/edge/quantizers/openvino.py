"""OpenVINO's IR, quantized by NNCF."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.data.calibration import full_batches
from runner.data.classes import Array
from runner.data.extras import need
from runner.edge.quantizers import told
from runner.edge.quantizers.recipe import Recipe


def quantize(source: Path, target: Path, recipe: Recipe, samples: Array) -> None:
    """Writes the ONNX model in ``source`` as IR (.xml, and .bin beside it), quantized.

    int8-static   8-bit weights and activations, with the activations' ranges as ``samples`` (rows,
                  *input_shape) show them, and biases corrected for the error
    int8-weight,  weights alone, which are computed with in float; int4 in groups, and layers that
    int4-weight   NNCF never takes below 8 bit (convolutions) in int8
    """
    recipe.check("NNCF", {"int8-weight": ("channel",)})
    for module in ("openvino", "nncf"):
        need(module, package=module, extra="edge", what=target.name)
    with _quiet():
        import nncf
        import openvino

        with told("NNCF", recipe.scheme):
            model = _converted(openvino, source)
            if recipe.scheme == "int8-static":
                model = _static(nncf, model, recipe, samples)
            else:
                model = _weights(nncf, model, recipe)
            openvino.save_model(model, str(target))


def _converted(openvino: Any, source: Path) -> Any:
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        # It takes a path with a comma for several.
        plain = Path(folder) / "model.onnx"
        plain.symlink_to(source.absolute())
        return openvino.convert_model(str(plain))


def _static(nncf: Any, model: Any, recipe: Recipe, samples: Array) -> Any:
    kinds = {op.get_type_name() for op in model.get_ordered_ops()}
    is_transformer = bool(kinds & {"Softmax", "ScaledDotProductAttention"}) and "MatMul" in kinds
    taken = model.input(0).partial_shape[0]
    batches = full_batches(samples, taken.get_length() if taken.is_static else 1)
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if is_transformer else None,
        ignored_scope=_ignored(nncf, recipe),
        advanced_parameters=_per_tensor(nncf) if recipe.granularity == "tensor" else None,
    )


def _per_tensor(nncf: Any) -> Any:
    from nncf.quantization.advanced_parameters import QuantizationParameters

    return nncf.AdvancedQuantizationParameters(
        weights_quantization_params=QuantizationParameters(per_channel=False)
    )


def _weights(nncf: Any, model: Any, recipe: Recipe) -> Any:
    if recipe.scheme == "int8-weight":
        return nncf.compress_weights(
            model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=_ignored(nncf, recipe)
        )
    return nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode.INT4_SYM,
        ratio=1.0,
        all_layers=True,
        group_size=-1 if recipe.granularity == "channel" else recipe.group_size,
        ignored_scope=_ignored(nncf, recipe),
        advanced_parameters=nncf.AdvancedCompressionParameters(
            group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST
        ),
    )


def _ignored(nncf: Any, recipe: Recipe) -> Any:
    patterns = [rf"^{re.escape(name)}/.*$" for name in recipe.floats]
    return nncf.IgnoredScope(patterns=patterns, validate=False) if patterns else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's account of what it does, and its bars of progress."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
