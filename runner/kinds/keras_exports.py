"""The forms that a Keras model is kept in beside .keras, made, loaded again and measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from runner.errors import TaskError
from runner.kinds import Yield
from runner.model import Artifact, Context, Fact, Metric, Params, Progress
from runner.parameters import Parameters

if TYPE_CHECKING:
    from runner.data.classes import Array
    from runner.data.dataset import Dataset
    from runner.data.described import Form
    from runner.data.models import ModelSpec
    from runner.serving.measuring import Measured

OUTPUTS = ("model", "saved-model", "litert", "litert-int8")
# The model's own form, reloaded beside the others: what these are compared with.
OWN = "keras"
# Of the built-in models, those whose layer norms and attention LiteRT has in floats only.
_NOT_IN_INTEGERS = ("vit", "gpt")
# Rounding apart, a form in floats computes what the model does.
_FLOAT_TOLERANCE = 1e-3
# Below this, outputs of a quantized form have nothing to do with the model's: 8 bits leave 0.99.
_LEAST_COSINE = 0.8


class ExportsParams(Parameters):
    """What a Keras model is kept as beside .keras."""

    exports: list[Literal["saved-model", "litert", "litert-int8"]] = Field(
        default_factory=list,
        description="what to keep the model as beside .keras, each an artifact of that name: "
        "saved-model; litert, a .tflite in floats; litert-int8, one in integers alone, inputs and "
        "outputs too, of the operators that Coral's compiler takes. Each is loaded again by its "
        "own runtime in a fresh process, compared with the model in memory, and measured",
    )

    @model_validator(mode="after")
    def _names_each_once(self) -> ExportsParams:
        twice = {name for name in self.exports if self.exports.count(name) > 1}
        if twice:
            raise ValueError(f"'exports' names {min(twice)} twice; expected it once")
        return self


def check_exports(exports: list[Any], model_name: str | None) -> None:
    """Raises ValueError if a built-in model can't be had in such a form."""
    if "litert-int8" in exports and model_name in _NOT_IN_INTEGERS:
        raise ValueError(
            f"'exports' names litert-int8, which computes in integers alone, and {model_name} has "
            "operations (of layer norm and attention) that LiteRT has for floats only; expected no "
            "litert-int8, or an mlp or a convnet"
        )


def made(params: Params) -> tuple[str, ...]:
    """The artifacts of a task with these parameters, as its spec has them."""
    exports = params.get("exports")
    listed = exports if isinstance(exports, list) else []
    return tuple(name for name in OUTPUTS if name == "model" or name in listed)


def try_out(params: ExportsParams, spec: ModelSpec, data: Dataset, *, seed: int) -> None:
    """Makes the forms of an untrained model, so that one that can't be had costs no training.

    Raises TaskError if a form can't be made, or what makes or runs it is not installed.
    """
    if not params.exports:
        return
    import tempfile

    from runner.data.extras import need
    from runner.tflib.models import build

    if any(name.startswith("litert") for name in params.exports):
        need("ai_edge_litert", package="ai-edge-litert", extra="tf", what="a LiteRT file")
    model = build(spec, data, seed=seed)
    with tempfile.TemporaryDirectory(prefix="runner-exports-") as scratch:
        for name in params.exports:
            folder = Path(scratch) / name
            folder.mkdir()
            _put(folder, name, model, data)


def keep(
    context: Context, params: ExportsParams, model: Any, spec: ModelSpec, data: Dataset
) -> Iterator[Yield]:
    """Writes the forms as artifacts beside that of ``model``, and measures all of them reloaded.

    They and the model's own, each in a process of its own, take turns on the CPU. Figures have the
    form's name before theirs: ``litert/latency/p50_ms``; of the model's own form, ``keras/``.
    Raises TaskError if the outputs of one are not the model's.
    """
    if not params.exports:
        return
    from runner.data.described import write
    from runner.data.timing import THROUGHPUT_BATCH
    from runner.serving.measuring import measure
    from runner.tflib.artifact import describe
    from runner.tflib.export import outputs_of
    from runner.tflib.figures import count_parameters
    from runner.tflib.portions import most_at_once

    yield Progress(step=1, total_steps=1, phase="export")
    description = describe(spec, data)
    for name in params.exports:
        form = replace(_form(name), parameters=count_parameters(model))
        write(
            context.folder / name,
            replace(description, form=form),
            framework="keras",
            put=partial(_put, name=name, model=model, data=data),
        )
        yield Artifact(name=name, path=context.folder / name)
    yield Progress(step=1, total_steps=1, phase="measure")
    rows = min(THROUGHPUT_BATCH, most_at_once(data.test_targets[0].size))
    in_memory = outputs_of(model, data.test_inputs, rows=rows)
    measured = dict(
        zip(
            (OWN, *params.exports),
            measure(
                [context.folder / name for name in ("model", *params.exports)],
                data,
                threads=context.threads,
                batch_size=rows,
            ),
            strict=True,
        )
    )
    yield Fact(
        name="runtimes",
        text=", ".join(f"{name}: {each.runtime}" for name, each in measured.items()),
    )
    # What a form is compared with are the outputs in memory, and the size and speed of .keras.
    own = replace(measured[OWN], outputs=in_memory)
    for kept, each in measured.items():
        figures = _figures(kept, each, own)
        yield from (Metric(name=f"{kept}/{key}", value=value) for key, value in figures.items())
        _check(kept, each, in_memory)


def _figures(form: str, found: Measured, own: Measured) -> Mapping[str, float]:
    """Those of a form, and how it compares; of the model's own, how it compares with itself."""
    from runner.serving.measuring import Agreement, compared

    beside = compared(found, own)
    same = {f"compression/{field.name}" for field in fields(Agreement)}
    shown = [name for name in beside if name in same or form != OWN]
    return {
        **found.metrics(),
        **{name: beside[name] for name in shown if not name.startswith("baseline/")},
    }


def _check(name: str, found: Measured, in_memory: Array) -> None:
    """Raises TaskError if a form's outputs are not those of the model in memory."""
    import numpy as np

    from runner.serving.measuring import Agreement

    apart = Agreement.of(found.outputs, in_memory)
    if name == "litert-int8":
        is_same = apart.cosine >= _LEAST_COSINE
    else:
        most = max(1.0, float(np.abs(in_memory).max()))
        is_same = apart.largest_difference <= _FLOAT_TOLERANCE * most
    if not is_same:
        raise TaskError(
            f"the model as {name} is not the one in memory: {found.runtime} gives outputs for the "
            f"held-out samples that differ by up to {apart.largest_difference:.3g} (cosine "
            f"{apart.cosine:.3f}), and the same answer to {apart.agreement:.1%} of them",
            hint=f"leave {name} out of 'exports', or find out which layer it gets wrong",
        )


def _form(name: str) -> Form:
    from runner.data.described import Form

    if name == "saved-model":
        return Form(format="saved-model", file="saved_model")
    scheme = "int8-static" if name == "litert-int8" else "float"
    return Form(format="litert", file="model.tflite", scheme=scheme, batch_size=1)


def _put(folder: Path, name: str, model: Any, data: Dataset) -> None:
    """Writes a form's files. Raises TaskError if it can't be made, or is not what is promised."""
    from runner.edge import litert_file, targets
    from runner.tflib.export import representative, to_full_integer, to_litert, to_saved_model

    file = folder / _form(name).file
    if name == "saved-model":
        to_saved_model(model, file, data=data)
    elif name == "litert":
        file.write_bytes(to_litert(model, data=data))
    else:
        file.write_bytes(to_full_integer(model, representative(data), data=data))
        held = litert_file.read(file)
        coral = targets.find("coral")
        missing = targets.lacking(coral, held.operators)
        if missing:
            raise TaskError(
                "the model as litert-int8 has operators that Coral's compiler does not take: "
                + "; ".join(missing),
                hint="take a model without them, of convolutions, linear layers and ReLU for "
                "instance, or leave litert-int8 out of 'exports'",
            )
        litert_file.check_full_integer(held)
        targets.lay_out(folder, coral, file)
