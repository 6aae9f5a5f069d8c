"""A Keras model as SavedModel and LiteRT: the same model, whole, in the numbers promised."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.data.channels import for_keras
from runner.errors import TaskError

ARGS = {"channels": [8, 16], "hidden": 32}
needs_litert = pytest.mark.usefixtures("litert")


@pytest.fixture(scope="module")
def litert() -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'runner[tf]'")


@pytest.fixture(scope="module")
def trained(kit: ModuleType) -> Any:
    """A convnet that has learnt the digits, and its data."""
    data = kit.digits()
    learnt = kit.train(
        data, name="convnet", args=ARGS, total_steps=60, optimizer="adam", learning_rate=5e-3
    )
    return learnt.model, data


@pytest.fixture(scope="module")
def export(kit: ModuleType) -> ModuleType:
    from runner.tflib import export

    return export


def answers(content: bytes, inputs: Any) -> tuple[Any, list[Any]]:
    """Outputs of a LiteRT file by its interpreter, one sample at a time, and all its tensors."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for row in for_keras(inputs):
        if taken["dtype"] is np.int8:
            scale, zero = taken["quantization"]
            row = np.clip(np.round(row / scale) + zero, -128, 127)
        interpreter.set_tensor(taken["index"], row[None].astype(taken["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(given["index"])[0].astype(np.float64))
    scale, zero = given["quantization"]
    logits = np.array(found)
    return (logits - zero) * scale if scale else logits, interpreter.get_tensor_details()


def test_a_saved_model_is_the_model_for_any_batch_and_holds_weights_once(
    export: ModuleType, trained: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    model, data = trained
    export.to_saved_model(model, tmp_path / "saved", data=data)
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    for rows in (1, 30):
        inputs = for_keras(data.test_inputs[:rows])
        (found,) = serve(inputs=tf.constant(inputs)).values()
        np.testing.assert_allclose(found, model(inputs, training=False), atol=1e-5)
    weights = sum(np.prod(variable.shape) for variable in model.weights)
    (values,) = (tmp_path / "saved" / "variables").glob("*.data-*")
    assert 4 * weights <= values.stat().st_size
    assert values.stat().st_size < 4.2 * weights


@needs_litert
def test_litert_in_floats_is_the_model(export: ModuleType, trained: Any) -> None:
    model, data = trained
    expected = model(for_keras(data.test_inputs), training=False)
    found, _ = answers(export.to_litert(model, data=data), data.test_inputs)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found.argmax(1) == data.test_targets).mean() > 0.9


@needs_litert
def test_litert_in_integers_alone_is_small_and_almost_as_right(
    export: ModuleType, trained: Any, tmp_path: Path
) -> None:
    from runner.edge import litert_file
    from runner.edge.targets import find, lacking

    model, data = trained
    small = export.to_full_integer(model, export.representative(data), data=data)
    found, tensors = answers(small, data.test_inputs)
    assert {np.dtype(each["dtype"]).name for each in tensors} == {"int8", "int32"}
    expected = np.asarray(model(for_keras(data.test_inputs), training=False))
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.98
    (tmp_path / "small.tflite").write_bytes(small)
    held = litert_file.read(tmp_path / "small.tflite")
    assert dict(held.dtypes) == {"int8": 11, "int32": 5}
    assert [(each.dtype, each.shape) for each in held.inputs] == [("int8", (1, 8, 8, 1))]
    assert [(each.dtype, each.shape) for each in held.outputs] == [("int8", (1, 10))]
    counts = {each.name: each.count for each in held.operators}
    assert counts == {"CONV_2D": 2, "MAX_POOL_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 2}
    assert all(each.version is not None and each.version >= 1 for each in held.operators)
    litert_file.check_full_integer(held)
    assert lacking(find("coral"), held.operators) == []


@needs_litert
def test_what_is_not_in_integers_alone_is_told(
    kit: ModuleType, export: ModuleType, trained: Any, tmp_path: Path
) -> None:
    from runner.edge import litert_file
    from runner.edge.targets import find, lacking

    model, data = trained
    file = tmp_path / "model.tflite"
    file.write_bytes(export.to_litert(model, data=data))
    with pytest.raises(TaskError, match="inputs are float32"):
        litert_file.check_full_integer(litert_file.read(file))
    args = {"patch": 4, "dim": 8, "depth": 1, "heads": 2}
    vit = kit.models.build(kit.models.ModelSpec(name="vit", args=args), data)
    file.write_bytes(export.to_full_integer(vit, export.representative(data), data=data))
    held = litert_file.read(file)
    with pytest.raises(TaskError, match=r"tensors are not integers but float32, such as"):
        litert_file.check_full_integer(held)
    assert any(line.startswith("BATCH_MATMUL") for line in lacking(find("coral"), held.operators))


@needs_litert
def test_a_broken_litert_file_is_named(export: ModuleType, trained: Any, tmp_path: Path) -> None:
    from runner.edge import litert_file

    model, data = trained
    whole = export.to_litert(model, data=data)
    file = tmp_path / "broken.tflite"
    for content in (b"", b"no model at all", whole[:200], b"\xff" * 4 + whole[4:]):
        file.write_bytes(content)
        with pytest.raises(TaskError, match=r"broken\.tflite is no LiteRT file"):
            litert_file.read(file)


def test_samples_to_calibrate_with_come_from_all_of_the_training_part(
    kit: ModuleType, export: ModuleType
) -> None:
    data = kit.digits()
    found = export.representative(data)
    assert found.shape == (256, 8, 8, 1)
    assert found[0].tobytes() == for_keras(data.train_inputs[:1]).tobytes()
    assert found[-1].tobytes() == for_keras(data.train_inputs[-1:]).tobytes()
    assert export.representative(kit.small(samples=40)).shape == (32, 6)


def test_a_model_that_can_not_be_written_is_refused(
    kit: ModuleType, export: ModuleType, tmp_path: Path
) -> None:
    import keras
    import tensorflow as tf

    data = kit.small()
    model = keras.Sequential([keras.Input((6,)), keras.layers.Lambda(tf.math.digamma)])
    with pytest.raises(TaskError, match=r"it has no operator for Digamma$") as caught:
        export.to_litert(model, data=data)
    assert "another form" in caught.value.hint
