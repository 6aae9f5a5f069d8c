"""The training of scheme int8-qat: a model as it is, while it is rounded as it will be."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from runner.kinds import Yield
from runner.kinds.candidates import Source
from runner.kinds.fitting import tune
from runner.kinds.stepping import SteppingParams, TorchSteppingParams
from runner.kinds.training import DataParams, ModelParams, TrainingParams
from runner.model import Context

if TYPE_CHECKING:
    from runner.kinds.quantize import QuantizeParams


def train_aware(
    context: Context, params: QuantizeParams, source: Source, floats: tuple[str, ...]
) -> Generator[Yield, None, Source]:
    """Trains the model of ``source``, which is returned with what came of it."""
    from runner.torchlib.data import from_arrays
    from runner.torchlib.objectives import CrossEntropy
    from runner.torchlib.qat import Trained, float_state, prepared, write_trained

    model = prepared(source.loaded, floats=floats)
    objective = CrossEntropy(label_smoothing=params.label_smoothing)
    yield from tune(context, _training(params, source), model, from_arrays(source.data), objective)
    file, state = source.scratch / "trained.onnx", float_state(model, source.loaded)
    model.eval()
    write_trained(model, source.loaded, file, batch_size=source.rows)
    source.lower(file, {})
    return replace(source, trained=Trained(file=file, floats=floats, state=state))


def _training(params: QuantizeParams, source: Source) -> TrainingParams:
    shared = {*SteppingParams.model_fields, *TorchSteppingParams.model_fields}
    data = params.data.model_dump(exclude={"test_fraction"})
    return TrainingParams(
        model=ModelParams.model_validate(asdict(source.loaded.spec)),
        data=DataParams.model_validate(data),
        **{name: getattr(params, name) for name in shared - {"precision"}},
        precision="fp32",  # what rounds in it does so by itself
    )
