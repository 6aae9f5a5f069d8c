"""runner platforms: the ranking, one platform, a model out of a run, files of the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.data.models import ModelSpec
from runner.edge.platforms import platforms
from tests.cli.calling import Call, call
from tests.edge.test_platforms import PHOTONIC

__all__ = ["call"]


@pytest.fixture
def convnet(tmp_path: Path) -> Path:
    return _saved(tmp_path / "convnet", "convnet", {"channels": [8, 8], "hidden": 16})


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    return _saved(tmp_path / "vit", "vit", {"patch": 4, "dim": 16, "depth": 1, "heads": 2})


def _saved(folder: Path, name: str, args: dict[str, Any]) -> Path:
    from runner.torchlib.artifact import save
    from runner.torchlib.data import load
    from runner.torchlib.models import build

    data = load(name="digits")
    model = build(name=name, args=args, input_shape=data.input_shape, num_classes=10)
    save(folder, model, spec=ModelSpec(name=name, factory=None, args=args), dataset=data)
    return folder


def names(out: str) -> list[str]:
    """The platforms of the table, in its order."""
    table = out.partition("platform ")[2].partition("\n\n")[0]
    return [line.split()[0] for line in table.splitlines()[1:]]


def test_all_of_them_are_ranked_with_a_mark_at_what_nobody_vouches_for(call: Call) -> None:
    shown = call("platforms")
    assert shown.code == 0
    assert sorted(names(shown.out)) == sorted(platforms())
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line}
    assert "48.0 TOP/s " in lines["intel-npu"] and "17 W?" in lines["intel-npu"]
    assert "2 W " in lines["coral"]
    assert "33.5 TOP/s" in lines["jetson-orin-nano"]  # half of 67, which counts sparsity
    assert "10 W  end of life" in lines["jetson-nano"]
    assert lines["jetson-nano"].endswith("onnx")
    assert "? rests on a figure without a source" in shown.out


def test_a_need_leaves_those_that_suit_and_says_why_not_the_others(call: Call) -> None:
    shown = call("platforms", "--needs", "npu,int8", "--max-watts", "5")
    assert shown.code == 0
    assert names(shown.out) == ["coral", "coral-dev-board"]
    assert "\n  intel-npu         takes 17 W, more than 5\n" in shown.out
    data = json.loads(call("platforms", "--needs", "npu,int8", "--max-watts", "5", "--json").out)
    why = {each["name"]: each["why_not"] for each in data["platforms"]}
    assert why["coral"] == []
    assert why["jetson-nano"] == [
        "its GPU computes, and what is asked for is NPU",
        "takes 10 W, more than 5",
        "has no int8, but fp16, fp32",
    ]


def test_a_need_that_none_meets_is_exit_3(call: Call) -> None:
    shown = call("platforms", "--needs", "int8", "--max-watts", "0.5")
    assert shown.code == 3
    assert "no platform suits" in shown.out
    as_data = call("platforms", "--needs", "int8", "--max-watts", "0.5", "--json")
    assert as_data.code == 3
    assert not any(each["suits"] for each in json.loads(as_data.out)["platforms"])


def test_a_narrow_terminal_gets_the_columns_that_fit(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    table = call("platforms").out.partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 70
    assert "power" in table[0] and "takes" not in table[0]
    assert sorted(names(call("platforms").out)) == sorted(platforms())


def test_one_is_shown_with_the_source_of_every_figure(call: Call) -> None:
    shown = call("platforms", "coral").out
    assert "Google Coral USB Accelerator (npu, current)" in shown
    assert "Coral Accelerator Module datasheet 1.4" in shown
    assert "edgetpu_compiler --show_operations model.tflite" in shown
    assert "DEPTHWISE_CONV_2D" in shown
    phone = call("platforms", "phone").out
    assert phone.count("unverified: no source") == len(platforms()["phone"].figures())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["corl"], "no platform is called 'corl'; did you mean 'coral'?"),
        (["--needs", "gpus,int9"], "'gpus' is nothing to need; did you mean 'gpu'?; 'int9'"),
        (["--min-fps", "30"], "--min-fps goes with --model"),
        (["--max-watts", "0"], "'--max-watts'"),
        (["--platform", "none.yaml"], "none.yaml can't be read"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(call: Call, arguments: list[str], words: str) -> None:
    shown = call("platforms", *arguments)
    assert (shown.code, shown.out) == (2, "")
    assert words in shown.err


def test_a_model_is_estimated_and_the_estimate_is_marked_as_one(call: Call, convnet: Path) -> None:
    shown = call("platforms", "--model", str(convnet), "--min-fps", "30")
    assert shown.code == 0
    convolutions, linear = (1 + 8) * 8 * 9 + 2 * 2 * 8, 128 * 16 + 16 + 16 * 10 + 10
    assert convolutions + linear == 2914
    assert "one inference at batch 1: 87.4 k operations, 2.91 k parameters" in shown.out
    assert "~ is an estimate at best (roofline)" in shown.out
    table = shown.out.partition("platform ")[2].partition("\n\n")[0].splitlines()[1:]
    assert all(line.count("~") == 3 for line in table)  # latency, energy and rate
    assert "not known:\n  ascend-310b  memory_gb_per_s, which the estimate leaves out" in shown.out


def test_operators_that_a_platform_lacks_are_named(call: Call, vit: Path) -> None:
    shown = call("platforms", "--model", str(vit), "--json")
    assert shown.code == 0
    data = json.loads(shown.out)
    verdicts = {each["name"]: each for each in data["platforms"]}
    assert verdicts["coral"]["why_not"] == ["lacks operators: BATCH_MATMUL (2 times), GELU"]
    assert not verdicts["coral"]["suits"] and data["platforms"][0]["suits"]
    assert data["model"]["operators"]["bmm"] == 2
    estimate = verdicts["raspberry-pi-5"]["estimate"]
    assert estimate["latency_ms"] == max(estimate["compute_ms"], estimate["memory_ms"])
    assert estimate["inferences_per_s"] == pytest.approx(1e3 / estimate["latency_ms"])
    assert "tops.int8" in estimate["unverified"] or "tops.fp16" in estimate["unverified"]
    assert verdicts["coral"]["tops"]["int8"]["source"].startswith("Coral Accelerator Module")


def test_a_platform_of_ones_own_is_asked_what_it_would_do(
    call: Call, convnet: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photonic.yaml").write_text(PHOTONIC)
    for where, model in (("mine", []), ("mine/photonic.yaml", ["--model", str(convnet)])):
        shown = call("platforms", "--platform", where, *model)
        (line,) = [each for each in shown.out.splitlines() if each.startswith("photon-1 ")]
        assert "imagined" in line
    one = call("platforms", "photon-1", "--platform", "mine").out
    assert "our own simulation" in one and "unverified: no source" in one
    (tmp_path / "mine" / "broken.yaml").write_text("platforms: {x: {device: npu}}\n")
    wrong = call("platforms", "--platform", "mine")
    assert wrong.code == 2
    assert "broken.yaml:1:13: 'x' has no 'title'" in wrong.err and "4 faults" in wrong.err
    (tmp_path / "empty").mkdir()
    assert "holds no .yaml file" in call("platforms", "--platform", "empty").err
