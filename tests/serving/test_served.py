"""Models are measured as a fresh process has loaded them, and what goes wrong there is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from runner.data import load as load_data
from runner.data.described import Form, size_bytes, write
from runner.errors import TaskError
from runner.model import SCRATCH
from runner.serving.measuring import Agreement, Score, compared, measure
from runner.serving.server import Server
from runner.torchlib.artifact import load
from runner.torchlib.data import from_arrays
from runner.torchlib.measure import evaluate
from tests.conftest import wait_for
from tests.runs.real_runs import is_gone
from tests.serving.models import as_onnx, change_weights, described, digits, trained


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("source") / "model")


def test_a_model_gives_what_its_source_does_in_another_runtime(
    source: Path, tmp_path: Path
) -> None:
    data = digits()
    expected = evaluate(load(source).model, from_arrays(data), device="cpu")
    ours = as_onnx(source, tmp_path / "onnx", parameters=1210)
    before, after = measure([source, ours], data, threads=1)
    assert before.runtime.startswith("torch ") and after.runtime.startswith("onnxruntime ")
    for one in (before, after):
        assert one.score.loss == pytest.approx(expected.loss, abs=1e-5)
        assert one.score.accuracy == expected.accuracy
        assert one.parameters == 1210
        assert one.peak_memory_mb > 10
    found = compared(after, before)
    assert found["compression/agreement"] == 1.0 and found["compression/accuracy_drop"] == 0.0
    assert found["compression/largest_difference"] < 1e-4
    assert found["compression/size_ratio"] == size_bytes(source) / size_bytes(ours)
    assert found["baseline/test/accuracy"] == expected.accuracy
    assert found["compression/speedup"] > 0 and found["compression/throughput_ratio"] > 0


def test_a_batch_of_one_size_is_filled_up(source: Path, tmp_path: Path) -> None:
    data = digits()
    fixed = as_onnx(source, tmp_path / "fixed", batch_size=7)
    assert len(data.test_inputs) % 7
    one, other = measure([source, fixed], data, threads=1)
    assert one.outputs.shape == other.outputs.shape
    assert np.abs(one.outputs - other.outputs).max() < 1e-4


def test_what_a_model_takes_raw_is_what_it_was_before_its_preprocessing(
    source: Path, tmp_path: Path
) -> None:
    """Pixels of the digits are whole numbers from 0 to 16."""
    raw = as_onnx(source, tmp_path / "raw", takes_raw=True)
    with Server(raw, threads=1) as server:
        from runner.serving.measuring import inputs_for

        inputs = inputs_for(server, digits())
    assert round(float(inputs.min()), 4) == 0.0 and round(float(inputs.max()), 4) == 16.0
    assert np.abs(inputs - np.rint(inputs)).max() < 1e-4


def test_weights_that_changed_show_in_the_answers(source: Path, tmp_path: Path) -> None:
    broken = as_onnx(source, tmp_path / "onnx")
    change_weights(broken)
    before, after = measure([source, broken], digits(), threads=1)
    found = compared(after, before)
    assert found["compression/agreement"] < 0.5 and found["compression/accuracy_drop"] > 0.3


def test_a_file_that_was_cut_short_is_refused(source: Path, tmp_path: Path) -> None:
    cut = as_onnx(source, tmp_path / "onnx")
    file = cut / "model.onnx"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TaskError, match=r"can't load .*model\.onnx"):
        Server(cut, threads=1)


def test_a_file_that_is_gone_is_named(source: Path, tmp_path: Path) -> None:
    gone = as_onnx(source, tmp_path / "onnx")
    (gone / "model.onnx").unlink()
    with pytest.raises(TaskError, match=r"there is no .*model\.onnx"):
        Server(gone, threads=1)


def test_a_form_is_no_model_to_train_on(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="was made into onnx"):
        load(as_onnx(source, tmp_path / "onnx"))


def test_a_model_that_changes_as_it_runs_is_found_out(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch 2.13's frozen int8 graphs do at batch 1: a parameter is written into."""
    (tmp_path / "drifting.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.linear = torch.nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        if not self.training and len(x) == 1:\n"
        "            with torch.inference_mode():\n"
        "                self.linear.bias.data += 0.01 * torch.arange(10)\n"
        "        return self.linear(x.flatten(1))\n"
        "def make():\n"
        "    return Net()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    from runner.data.models import ModelSpec
    from runner.torchlib.artifact import save
    from runner.torchlib.models import build

    data = digits()
    net = build(factory="drifting:make", input_shape=data.input_shape, num_classes=10)
    folder = tmp_path / "model"
    save(folder, net, spec=ModelSpec(factory="drifting:make"), dataset=from_arrays(data))
    with pytest.raises(TaskError, match="gives other outputs after some calls"):
        measure([folder], data, threads=1)


def test_data_that_the_model_was_not_made_for_is_refused(source: Path) -> None:
    with pytest.raises(TaskError, match="was made for data with"):
        measure([source], load_data(name="mnist5k"), threads=1)


def test_a_runtime_that_dies_says_how(source: Path) -> None:
    with Server(source, threads=1) as server:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(TaskError, match="was ended by SIGKILL"):
            server.use(np.zeros((1, 1, 8, 8), dtype=np.float32))


def test_one_that_gives_no_answer_is_waited_for_only_so_long(source: Path) -> None:
    with Server(source, threads=1, limit_s=60.0) as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
        server.limit_s = 0.2
        with pytest.raises(TaskError, match=r"no answer within 0\.2 s"):
            server.peak_memory_mb()
    assert is_gone(pid)


def test_it_ends_with_who_asks(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if that is killed, and can't say goodbye."""
    monkeypatch.setenv(SCRATCH, str(tmp_path / "attempt"))
    code = (
        "import os, sys, pathlib\n"
        "from runner.serving.server import Server\n"
        "server = Server(pathlib.Path(sys.argv[1]), threads=1)\n"
        "print(server.pid, server._scratch.name, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(source)], capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    pid, scratch = ended.stdout.decode().split()
    wait_for(lambda: is_gone(int(pid)), timeout_s=10)
    assert not Path(scratch).exists()
    assert Path(scratch).parent == tmp_path / "attempt"  # where it would lie if both were killed


def test_many_samples_are_asked_for_in_pieces(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits()
    with Server(source, threads=1) as server:
        server.use(data.test_inputs)
        whole = server.outputs()
        monkeypatch.setattr("runner.serving.server._SAMPLES_AT_ONCE", 100)
        assert len(whole) == len(data.test_inputs) > 300
        np.testing.assert_allclose(server.outputs(), whole, atol=1e-5)


def test_outputs_that_are_no_numbers_are_called_that(source: Path, tmp_path: Path) -> None:
    folder = as_onnx(source, tmp_path / "diverged")
    change_weights(folder, times=float("nan"))
    with pytest.raises(TaskError, match=r"some that are no numbers, for 100\.0% of the held-out"):
        measure([folder], digits(), threads=1)


def test_a_form_that_nothing_runs_is_told(source: Path, tmp_path: Path) -> None:
    form = Form(format="onnx", file="model.bin")
    write(
        tmp_path / "odd",
        described(source, form),
        framework="torch",
        put=lambda folder: (folder / "model.bin").write_bytes(b"?"),  # type: ignore[arg-type,func-returns-value]
    )
    file = tmp_path / "odd/model.json"
    text = json.loads(file.read_text())
    text["form"]["format"] = "abacus"
    file.write_text(json.dumps(text))
    with pytest.raises(TaskError, match="as abacus, which nothing here runs"):
        Server(tmp_path / "odd", threads=1)


def test_the_score_is_that_of_pytorch() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 30 * torch.randn(50, 7, generator=generator)
    targets = torch.randint(0, 7, (50,), generator=generator)
    score = Score.of(logits.numpy(), targets.numpy())
    assert score.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, targets).item())
    assert score.accuracy == (logits.argmax(1) == targets).double().mean().item()


def test_agreement() -> None:
    ours = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=np.float32)
    theirs = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    found = Agreement.of(ours, theirs)
    assert found.agreement == pytest.approx(2 / 3)
    assert found.cosine == pytest.approx(1 / 3)
    assert found.largest_difference == 1.0
