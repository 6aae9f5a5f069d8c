"""Quantization: a convnet and a vision transformer by `auto`, beside what one writes by hand.

Trains ``convnet`` and ``vit``. Kind ``quantize`` makes 8-bit forms of them with ``scheme: auto``
and 4-bit ones of each runtime. Beside them: torchao alone, ONNX Runtime's dynamic quantization with
its defaults, OpenVINO with NNCF by hand, and Neural Compressor where it is installed. All are
loaded in this process and take turns; times are of the CPU, and ratios against eager PyTorch in
fp32 as a script has it, channels first. LiteRT is tried where the extra ``litert`` is there.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from compressors.common import BATCHES, DATA, carry_out, in_turns
from runner.data.described import size_bytes
from runner.errors import TaskError
from runner.serving.loading import open_folder

MODELS: Mapping[str, Mapping[str, Any]] = {
    "convnet": {"model": {"name": "convnet"}, "max_epochs": 8},
    "vit": {
        "model": {"name": "vit", "args": {"dim": 256, "depth": 4, "heads": 4, "patch": 7}},
        "max_epochs": 30,
    },
}
TRAINING: Mapping[str, Any] = {
    "data": DATA,
    "optimizer": {"name": "adamw", "learning_rate": 1e-3},
    "lr_scheduler": {"name": "one-cycle"},
    "augment": {"crop": 2},
}
EAGER, AUTO = "eager fp32", "runner auto"
# Of 8-bit forms: faster at batch 1 and 64, part of the bytes, points lost; and of 4-bit ones.
CLAIMS = {"convnet": (7.0, 5.0, 0.26, 0.2), "vit": (5.5, 2.5, 0.28, 0.3)}
INT4 = (0.145, 0.5)
SLOWER_AT_MOST = 1.05

Answers = Callable[[Any], Any]


@dataclass(frozen=True)
class Entry:
    """A form of the model: what it answers to an array, its bytes, its one batch if it has one."""

    call: Answers
    size: int
    rows: int | None = None


def main() -> int:
    missed = []
    for name, model in MODELS.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            trained = carry_out("train", folder / "trained", **model, **TRAINING).folder
            missed += compare(name, trained, folder)
    print()
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def compare(name: str, model: Path, folder: Path) -> list[str]:
    import torch

    from runner.data import load
    from runner.torchlib.artifact import load as load_model

    torch.set_num_threads(1)
    loaded = load_model(model)
    data = load(**DATA, like=loaded.preparation)
    entries = {EAGER: eager(loaded, size_bytes(model))}
    kept = ""
    for title, params in (
        (AUTO, {"scheme": "auto", "max_accuracy_drop": CLAIMS[name][3] / 100}),
        *((f"runner int4, {each}", four(each)) for each in ("onnx", "openvino", "litert")),
    ):
        try:
            made = carry_out("quantize", folder / title, model=str(model), data=DATA, **params)
        except TaskError as error:
            print(f"{title}: {error.message}")
            continue
        kept = kept or made.facts["kept"]
        entries[title] = served(made.folder)
    for title, make in peers(loaded, data, folder):
        entries[title] = make()
    return told(name, kept, entries, data)


def four(runtime: str) -> dict[str, Any]:
    # OpenVINO's groups of 128 have a half-precision scale each, which models of this size feel.
    finer = {"granularity": "channel"} if runtime == "openvino" else {}
    return {"scheme": "int4-weight", "runtime": runtime, "max_accuracy_drop": 0.005, **finer}


def eager(loaded: Any, size: int) -> Entry:
    import torch

    def call(inputs: Any) -> Any:
        with torch.inference_mode():
            return loaded.model(torch.from_numpy(inputs)).numpy()

    return Entry(call, size)


def served(folder: Path) -> Entry:
    described, opened = open_folder(folder, threads=1, device="cpu")
    rows = None if described.form is None else described.form.batch_size
    return Entry(lambda inputs: opened.call(opened.ready(inputs)), size_bytes(folder), rows)


def peers(loaded: Any, data: Any, folder: Path) -> Iterator[tuple[str, Callable[[], Entry]]]:
    from runner.torchlib.to_onnx import write_onnx

    source = folder / "float.onnx"
    write_onnx(loaded, source)
    yield "torchao int8, compiled", lambda: by_torchao(loaded, folder / "torchao.pt")
    yield "ONNX Runtime dynamic, defaults", lambda: by_onnxruntime(source, folder / "dyn.onnx")
    yield "OpenVINO with NNCF", lambda: by_nncf(source, data, folder / "nncf.xml")
    if find_spec("neural_compressor") is None:
        print("Neural Compressor: not installed (neural-compressor-pt)")
    else:
        yield "Neural Compressor", lambda: by_neural_compressor(loaded, data, folder / "inc.pt2")


def by_torchao(loaded: Any, path: Path) -> Entry:
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    from runner.torchlib.models import build

    model = build(
        name=loaded.spec.name, args=loaded.spec.args, input_shape=loaded.input_shape, num_classes=10
    ).eval()
    model.load_state_dict(loaded.model.state_dict())
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    torch.save(model.state_dict(), path)
    compiled = torch.compile(model)

    def call(inputs: Any) -> Any:
        with torch.inference_mode():
            return compiled(torch.from_numpy(inputs)).numpy()

    return Entry(call, path.stat().st_size)


def by_onnxruntime(source: Path, path: Path) -> Entry:
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(source), str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    return Entry(lambda inputs: session.run(None, {"inputs": inputs})[0], path.stat().st_size)


def by_nncf(source: Path, data: Any, path: Path) -> Entry:
    import nncf
    import openvino

    samples = nncf.Dataset([each[None] for each in data.train_inputs[:300]])
    model = nncf.quantize(openvino.convert_model(str(source)), samples)
    openvino.save_model(model, path)
    settings = {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    return Entry(lambda inputs: compiled(inputs)[0], size)


def by_neural_compressor(loaded: Any, data: Any, path: Path) -> Entry:
    import torch
    from neural_compressor.torch.export import export
    from neural_compressor.torch.quantization import StaticQuantConfig, convert, prepare

    rows = torch.from_numpy(data.train_inputs[:64])
    model = prepare(export(loaded.model, example_inputs=(rows,)), StaticQuantConfig())
    model(rows)
    compiled = torch.compile(convert(model))
    torch.export.save(torch.export.export(convert(model), (rows,)), path)

    def call(inputs: Any) -> Any:
        with torch.inference_mode():
            return compiled(torch.from_numpy(inputs)).numpy()

    return Entry(call, path.stat().st_size, rows=64)


def all_at_once(entry: Entry, inputs: Any) -> Callable[[], object]:
    """A call that answers to all of these, in as many steps as the form's batch takes."""
    rows = entry.rows or len(inputs)
    whole = [inputs[start : start + rows] for start in range(0, len(inputs), rows)]
    parts = [np.resize(part, (rows, *part.shape[1:])) for part in whole]

    def call() -> None:
        for part in parts:
            entry.call(part)

    return call


def told(name: str, kept: str, entries: Mapping[str, Entry], data: Any) -> list[str]:
    """Prints the table; gives what was claimed and does not hold."""
    inputs, targets = data.test_inputs, data.test_targets
    scores = {title: accuracy(each, inputs, targets) for title, each in entries.items()}
    per_sample = {}
    for rows in BATCHES:
        calls = {title: all_at_once(each, inputs[:rows]) for title, each in entries.items()}
        times = in_turns(calls, rows)
        per_sample[rows] = {title: seconds / rows for title, seconds in times.items()}
    first = entries[EAGER]
    print(f"\n{name}: auto kept {kept}\n")
    print("| | accuracy | MB | of fp32 | ms, batch 1 | faster | images/s, batch 64 | faster |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    faster = {}
    for title, each in entries.items():
        alone, together = (per_sample[rows][title] for rows in BATCHES)
        gains = [per_sample[rows][EAGER] / per_sample[rows][title] for rows in BATCHES]
        faster[title] = gains
        print(
            f"| {title} | {scores[title]:.1%} | {each.size / 1e6:.2f} | "
            f"{each.size / first.size:.3f} | {alone * 1e3:.3f} | {gains[0]:.1f}× | "
            f"{1 / together:.0f} | {gains[1]:.1f}× |"
        )
    return list(missed(name, entries, scores, faster))


def accuracy(entry: Entry, inputs: Any, targets: Any) -> float:
    rows = entry.rows or 64
    whole = [inputs[start : start + rows] for start in range(0, len(inputs), rows)]
    padded = [np.resize(each, (rows, *each.shape[1:])) for each in whole]
    given = [entry.call(each)[: len(part)] for each, part in zip(padded, whole, strict=True)]
    return float((np.concatenate(given).argmax(1) == targets).mean())


def missed(
    name: str,
    entries: Mapping[str, Entry],
    scores: Mapping[str, float],
    faster: Mapping[str, list[float]],
) -> Iterator[str]:
    alone, together, part, points = CLAIMS[name]
    gains, first = faster[AUTO], entries[EAGER]
    if gains[0] < alone or gains[1] < together:
        yield f"{name}: auto is {gains[0]:.1f}x and {gains[1]:.1f}x faster"
    if entries[AUTO].size > part * first.size:
        yield f"{name}: auto takes {entries[AUTO].size / first.size:.3f} of the bytes"
    if scores[EAGER] - scores[AUTO] > points / 100 + 1e-9:
        yield f"{name}: auto loses {scores[EAGER] - scores[AUTO]:.2%}"
    for title, each in faster.items():
        both = (each[0] * each[1]) ** 0.5
        if not title.startswith("runner") and both > SLOWER_AT_MOST * (gains[0] * gains[1]) ** 0.5:
            yield f"{name}: {title} is faster than auto"
    small = [
        title
        for title in entries
        if title.startswith("runner int4")
        and entries[title].size <= INT4[0] * first.size
        and scores[EAGER] - scores[title] <= INT4[1] / 100 + 1e-9
    ]
    if not small:
        yield f"{name}: no int4 form is small and accurate enough"


if __name__ == "__main__":
    sys.exit(main())
