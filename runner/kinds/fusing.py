"""What kind fuse does: fuse the graph, have a compiler fuse the rest, prove it, time it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.kinds import Yield
from runner.kinds.changeable import data_for
from runner.kinds.exporting import told
from runner.kinds.gates import check_gates
from runner.model import Artifact, Context, Fact, Metric, Progress

if TYPE_CHECKING:
    from runner.data.described import Format
    from runner.data.fusion import Fusion
    from runner.kinds.fuse import FuseParams

_FORMATS: dict[str, Format] = {
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "aotinductor": "aotinductor",
}


def run(context: Context) -> Iterator[Yield]:
    """Yields the artifact ``model``, its figures, those of what it was made from, and the ratios.

    Raises TaskError if a package or a compiler is missing, the data is not the model's, or the
    fused model gives other outputs than the model on the held-out samples, at once or later on.
    """
    from runner.data.fusion import told as told_fusions
    from runner.serving.measuring import compared, measure, rows_at_once
    from runner.serving.sameness import check_equal
    from runner.torchlib import artifact
    from runner.torchlib.device import prepare
    from runner.torchlib.forms import check_packages, write_form

    params: FuseParams = context.params
    format = _FORMATS[params.compiler]
    check_packages([format])
    prepare(context.device, threads=context.threads)
    folder, made = Path(params.model), context.folder / "model"
    loaded = artifact.load(folder)
    data = data_for(params.data, loaded)
    check_gates(params.gates, data.task)
    yield Progress(step=0, total_steps=2, phase=f"fuse with {params.compiler}")
    work = _Fusing(params.compiler, threads=context.threads)
    write_form(
        made,
        loaded,
        format=format,
        batch_size=params.batch_size,
        change=work.fuse_graph,
        then=work.have_compiled,
    )
    yield Progress(step=1, total_steps=2, phase="measure")
    own, ours = measure(
        [folder, made], data, threads=context.threads, batch_size=rows_at_once(data)
    )
    nothing = "nothing that it could be done to"
    yield Fact(name="fused in the graph", text=told_fusions(work.in_graph) or nothing)
    yield Fact(name=f"fused by {params.compiler}", text=told_fusions(work.by_compiler) or nothing)
    yield Fact(name="runtime", text=told(ours))
    values = {
        **loaded.sample_counts(len(data.test_inputs)),
        "fused/in_graph": float(len(work.in_graph)),
        "fused/by_compiler": float(len(work.by_compiler)),
        "operations/before": float(work.operations),
        **ours.metrics(),
        **compared(ours, own),
    }
    for name, value in values.items():
        yield Metric(name=name, value=value)
    check_equal(ours, own, name=f"fused by {params.compiler}")
    yield Artifact(name="model", path=made)


class _Fusing:
    """What was fused on the way from the model to its file."""

    def __init__(self, compiler: str, *, threads: int) -> None:
        self.in_graph: list[Fusion] = []
        self.by_compiler: list[Fusion] = []
        self.operations = 0
        self._compiler, self._threads = compiler, threads
        self._program: Any = None

    def fuse_graph(self, program: Any) -> None:
        from runner.torchlib.fusing import fuse_graph

        self.operations = sum(node.op == "call_function" for node in program.graph.nodes)
        self.in_graph = fuse_graph(program)
        self._program = program

    def have_compiled(self, file: Path, lines: Mapping[str, str]) -> None:
        from runner.edge.fused import fused_by_openvino, optimise_onnx
        from runner.torchlib.fusing import modules_by_operator
        from runner.torchlib.fusing.machine_code import fusions_in

        if self._compiler == "onnxruntime":
            self.by_compiler = optimise_onnx(file, threads=self._threads)
        elif self._compiler == "openvino":
            modules = modules_by_operator(self._program)
            self.by_compiler = fused_by_openvino(file, modules, threads=self._threads)
        else:
            self.by_compiler = fusions_in(file, self._program)
