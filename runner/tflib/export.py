"""A Keras model in the forms of others: SavedModel, and LiteRT in floats or in integers alone."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from runner.data.channels import for_keras, input_shape
from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.errors import TaskError

# What a converter raises that is given a model which it has no operators for.
_REFUSALS = (
    ConverterError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    tf.errors.OpError,
)
# How the converter names what there is none for, amid the places in its graphs.
_LACKING = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
CALIBRATION_SAMPLES = 256


def outputs_of(model: Any, inputs: Array, *, rows: int) -> Array:
    """What ``model`` in memory gives for ``inputs`` of a data set, ``rows`` of them at once."""
    graph = tf.function(lambda batch: model(batch, training=False))
    ready = for_keras(inputs)
    parts = [
        np.asarray(graph(tf.constant(ready[start : start + rows])), dtype=np.float32)
        for start in range(0, len(ready), rows)
    ]
    return np.concatenate(parts)


def representative(data: Dataset) -> Array:
    """256 of the training samples, as Keras models take them: to tell what ranges values have.

    They are taken evenly from among all, as samples may lie in the order of their classes.
    """
    count = min(CALIBRATION_SAMPLES, len(data.train_inputs))
    chosen = np.linspace(0, len(data.train_inputs) - 1, count).astype(np.int64)
    return for_keras(data.train_inputs[chosen])


def to_saved_model(model: Any, folder: Path, *, data: Dataset, rows: int | None = None) -> None:
    """Writes ``model`` as a SavedModel that takes ``rows`` samples of ``data`` at once, or any.

    It needs no Keras: ``serve`` and its signature are the model's forward pass. Raises TaskError if
    TensorFlow can't write it.
    """
    dtype = tf.int32 if data.task == "language" else tf.float32
    takes = tf.TensorSpec((rows, *input_shape(data)), dtype, name="inputs")
    holder = tf.Module()
    try:
        holder.serve = tf.function(
            lambda inputs: model(inputs, training=False), input_signature=[takes]
        )
        function = holder.serve.get_concrete_function()
        # TensorFlow's own, once each: model.export writes all of them twice.
        holder.held = list(function.variables)
        tf.saved_model.save(holder, str(folder), signatures=function)
    except _REFUSALS as error:
        raise _refused("TensorFlow can't write the model as a SavedModel", error) from error


def to_litert(model: Any, *, data: Dataset) -> bytes:
    """``model`` as a LiteRT file that takes one sample of ``data`` at a time, in floats.

    Raises TaskError if LiteRT has no operators for it.
    """
    return _converted(model, data, lambda converter: None)


def to_full_integer(model: Any, samples: Array, *, data: Dataset) -> bytes:
    """``model`` as a LiteRT file that takes one sample at a time, in int8 from end to end.

    Weights are quantized symmetrically, those of convolutions for each channel, and activations by
    the ranges they have for ``samples`` (rows, *shape as the model takes them): LiteRT's 8-bit
    quantization specification. Raises TaskError if LiteRT has no operators for it.
    """

    def quantize(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _one_by_one(samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8

    return _converted(model, data, quantize)


def _one_by_one(samples: Array) -> Iterator[list[Array]]:
    for index in range(len(samples)):
        yield [samples[index : index + 1]]


def _converted(model: Any, data: Dataset, settings: Callable[[Any], None]) -> bytes:
    # By way of a SavedModel, whose variables the converter freezes. Given the functions of a Keras
    # model instead, it leaves them to be filled in later, and says nothing.
    with tempfile.TemporaryDirectory(prefix="runner-litert-") as scratch:
        folder = Path(scratch) / "saved_model"
        to_saved_model(model, folder, data=data, rows=1)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        settings(converter)
        try:
            made: bytes = converter.convert()
        except _REFUSALS as error:
            raise _refused("LiteRT's converter does not take the model", error) from error
    return made


def _refused(what: str, error: Exception) -> TaskError:
    said = " ".join(str(error).split())
    lacking = sorted(set(_LACKING.findall(said)))
    why = f"it has no operator for {', '.join(lacking)}" if lacking else said[:400]
    return TaskError(f"{what}: {why}", hint="take a model of layers that it has, or another form")
