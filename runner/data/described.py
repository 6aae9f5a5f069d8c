"""``model.json``: what a model in a folder is, takes and gives, and what it was trained on.

The weights lie beside it in a file of the framework's own.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from runner.data.classes import Array
from runner.data.dataset import Preparation, Rescaling, Work
from runner.data.models import ModelSpec
from runner.data.origin import Origin, check_unseen
from runner.errors import TaskError

SCHEMA = 1
DESCRIPTION = "model.json"

Framework = Literal["torch", "keras"]
_OTHERS = {
    "torch": (
        "describes a Keras model, and a model of PyTorch is expected",
        "what takes Keras models is kind evaluate, and distill with framework: keras",
    ),
    "keras": (
        "describes a model of PyTorch, and a Keras model is expected",
        "name the model of a task of kind keras",
    ),
}


Format = Literal[
    "torch-quantized", "torch-export", "aotinductor", "onnx", "openvino", "executorch", "litert",
    "saved-model",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What a model was made into: a file beside ``model.json`` that a runtime of its own takes.

    ``file`` may be a folder; ``parts`` are further files that belong to it. ``scheme`` says in
    which numbers it computes, ``float`` or a scheme of quantization. Without a ``batch_size`` it
    takes batches of any. Samples go in as the model's own (see Described), or, with ``takes_raw``,
    before the preprocessing, which is inside. ``parameters`` are those of the model it was made
    from.
    """

    format: Format
    file: str
    scheme: str = "float"
    parts: tuple[str, ...] = ()
    batch_size: int | None = None
    takes_raw: bool = False
    parameters: int | None = None

    def __str__(self) -> str:
        return self.format if self.scheme == "float" else f"{self.format} {self.scheme}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Described:
    """What ``model.json`` says.

    ``input_shape`` and ``input_dtype`` are of a sample as the model takes it, ``preprocessing`` is
    what the data it was trained on went through (see Dataset), ``trained_on`` tells which data that
    was. ``form`` is what it was made into, None while it is the framework's own. ``pruned`` holds
    the widths of layers that are narrower than ``spec`` makes them, by the layer's name and that of
    its own argument: ``{"body.0": {"out_channels": 16}}``.
    """

    spec: ModelSpec
    task: Work
    input_shape: tuple[int, ...]
    input_dtype: str
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    trained_on: Origin
    form: Form | None = None
    pruned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """All of it by name, for what is made of it and of a model."""
        return {field.name: getattr(self, field.name) for field in fields(Described)}

    def raw(self, inputs: Array) -> Array:
        """Standardised inputs (rows, *input_shape of the data) as they were before that."""
        count = len(self.preprocessing.get("mean", ()))
        plain = {**self.preprocessing, "mean": [0.0] * count, "std": [1.0] * count}
        return Rescaling.between(self.preprocessing, plain, inputs.shape[1:])(inputs)

    def need_labels(self, what: str) -> None:
        """Raises TaskError if samples for this model have none; ``what`` can't do without."""
        if self.task == "embedding":
            raise TaskError(
                f"the {self.spec} gives embeddings, and {what} needs to know which answers are "
                "right",
                hint="such a model can be evaluated, quantized without training, fused and "
                "exported",
            )

    def sample_counts(self, held_out: int) -> dict[str, float]:
        """How many samples it was trained on, where that is known, and is measured on: metrics."""
        trained = self.trained_on.train_samples
        known = {"data/train_samples": float(trained)} if trained else {}
        return {**known, "data/test_samples": float(held_out)}

    @property
    def preparation(self) -> Preparation:
        """How data is made ready for this model."""
        return Preparation(
            task=self.task,
            classes=self.classes,
            preprocessing=self.preprocessing,
            origin=self.trained_on,
        )

    @property
    def block_size(self) -> int:
        """Of a language model, how many bytes it takes at once; of others, what none asks about."""
        return self.input_shape[0] if self.task == "language" else 128

    def check(
        self, *, task: Work, input_shape: tuple[int, ...], classes: tuple[str, ...], origin: Origin
    ) -> None:
        """Raises TaskError unless such data is what the model was made for.

        It must have the inputs and the classes the model was made for; where it is the data that
        the model was trained on, the same samples must be for training.
        """
        for what, ours, theirs in (
            ("task", self.task, task),
            ("input shape", self.input_shape, input_shape),
            ("classes", self.classes, classes),
        ):
            if ours != theirs:
                is_length = what == "input shape" and self.task == "language"
                raise TaskError(
                    f"the {self.spec} was made for data with {what} {_short(ours)}, "
                    f"this data has {what} {_short(theirs)}",
                    hint=f"write block_size: {self.input_shape[0]} in the new model's args"
                    if is_length
                    else "name data like that which the model was trained on",
                )
        check_unseen(str(self.spec), self.trained_on, origin)


def write(
    folder: Path, described: Described, *, framework: Framework, put: Callable[[Path], None]
) -> None:
    """Makes a model's folder, which appears whole or not at all; one of this name is replaced.

    ``put`` writes the weights into the folder that it is given.
    """
    spec, origin = described.spec, asdict(described.trained_on)
    description = {
        "schema": SCHEMA,
        **({} if framework == "torch" else {"framework": framework}),
        "model": {"name": spec.name, "factory": spec.factory, "args": dict(spec.args)},
        "task": described.task,
        "input": {"shape": list(described.input_shape), "dtype": described.input_dtype},
        "classes": list(described.classes),
        "preprocessing": dict(described.preprocessing),
        "trained_on": {key: value for key, value in origin.items() if value is not None},
    }
    if described.form is not None:
        description["form"] = asdict(described.form)
    if described.pruned:
        description["pruned"] = {name: dict(widths) for name, widths in described.pruned.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (unfinished / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        put(unfinished)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def read(folder: Path, *, framework: Framework) -> Described:
    """What ``write`` said of the model in ``folder``, which is to be of a framework's own form.

    Raises TaskError, naming the file, if it is missing, broken, of another schema, or describes a
    model of another framework or form.
    """
    found, described = read_any(folder)
    if found != framework:
        wrong, hint = _OTHERS[framework]
        raise TaskError(f"{folder / DESCRIPTION} {wrong}", hint=hint)
    if described.form is not None:
        raise TaskError(
            f"{folder / DESCRIPTION} describes a model that was made into {described.form}, "
            "and one that can still be changed is expected",
            hint="name the model that it was made from",
        )
    return described


def read_any(folder: Path) -> tuple[Framework, Described]:
    """What ``write`` said of the model in ``folder``, whatever its form, and where it comes from.

    Raises TaskError, naming the file, if it is missing, broken or of another schema.
    """
    path = folder / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TaskError(
            f"there is no {path}", hint="name the folder of a finished model"
        ) from error
    except (OSError, ValueError) as error:
        raise TaskError(f"{path} can't be read: {error}", hint="train the model again") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else None
        raise TaskError(
            f"{path} has schema {schema}, this version reads schema {SCHEMA}",
            hint="use the version of runner that wrote it",
        )
    try:
        form = found.get("form")
        return found.get("framework", "torch"), Described(
            spec=ModelSpec(**found["model"]),
            task=found["task"],
            input_shape=tuple(found["input"]["shape"]),
            input_dtype=found["input"]["dtype"],
            classes=tuple(found["classes"]),
            preprocessing=found["preprocessing"],
            trained_on=Origin(**found["trained_on"]),
            form=None if form is None else Form(**{**form, "parts": tuple(form["parts"])}),
            pruned=_widths(found.get("pruned", {})),
        )
    except (KeyError, TypeError) as error:
        raise TaskError(
            f"{path} does not describe a model: {error}",
            hint="it was changed by hand or by another program; train the model again",
        ) from error


def _widths(found: Any) -> dict[str, dict[str, int]]:
    is_right = isinstance(found, dict) and all(
        isinstance(widths, dict) and all(type(width) is int for width in widths.values())
        for widths in found.values()
    )
    if not is_right:
        raise TypeError("'pruned' does not hold widths by the names of layers")
    return dict(found)


def weights_in(folder: Path, name: str) -> Path:
    """The file of the weights. Raises TaskError if it is not there."""
    weights = folder / name
    if not weights.is_file():
        raise TaskError(f"there is no {weights}", hint="name the folder of a finished model")
    return weights


WEIGHTS = {"torch": "model.safetensors", "keras": "model.keras"}


def size_bytes(folder: Path) -> int:
    """What a model takes on disk: its description and its weights or, if it has one, its form.

    Other forms of it that lie beside are not counted. Raises TaskError as ``read_any`` does.
    """
    framework, described = read_any(folder)
    form = described.form
    names = (WEIGHTS[framework],) if form is None else (form.file, *form.parts)
    return sum(_bytes_of(folder / name) for name in (DESCRIPTION, *names))


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
