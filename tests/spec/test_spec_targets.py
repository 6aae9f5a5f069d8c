"""``target: FILE`` in a spec: a platform of the user's own, read before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runner.edge import targets
from runner.edge.platforms import platforms
from runner.errors import SpecError
from runner.kinds.export import ExportParams
from runner.kinds.quantize import QuantizeParams
from runner.model import Job
from runner.spec import load
from runner.spec.platforms import read
from runner.spec.schema import schema

CHIP = """\
platforms:
  photonic-1:
    title: A photonic mesh
    device: npu
    status: imagined
    tops: {int8: 400}
    formats: [onnx]
"""
OTHER = CHIP.replace("platforms:\n", "").replace("photonic-1", "photonic-2")
QUANTIZED = "    precision: int8\n    scheme: int8-static\n"
# The target stands in line 7, at column 13.
SPEC = """\
name: job
tasks:
  files:
    kind: export
    model: /models/m
    data: {name: digits}
    target: TARGET
  later:
    kind: evaluate
    model: ${tasks.files.outputs.onnx}
    data: {name: digits}
"""


def job(folder: Path | None, target: str, spec: str = SPEC, *overrides: str) -> Job:
    text = spec.replace("TARGET", target)
    return load(text.encode(), file="job.yaml", environment={}, folder=folder, overrides=overrides)


def refused(folder: Path | None, target: str, spec: str = SPEC) -> list[str]:
    with pytest.raises(SpecError) as caught:
        job(folder, target, spec)
    return [str(fault).removeprefix("job.yaml:") for fault in caught.value.faults]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "chip.yaml").write_text(CHIP)
    (tmp_path / "chips.yaml").write_text(CHIP + OTHER)
    (tmp_path / "broken.yaml").write_text(CHIP.replace("npu", "mpu") + "    tups: 3\n")
    return tmp_path


@pytest.mark.parametrize(
    "target", ["chip.yaml", "./chip.yaml:photonic-1", "chips.yaml:photonic-2", "ABSOLUTE"]
)
def test_what_is_planned_holds_all_that_the_file_says(folder: Path, target: str) -> None:
    target = target.replace("ABSOLUTE", str(folder / "chip.yaml"))
    found = job(folder, target)
    params = ExportParams.model_validate(found.tasks[0].params, strict=False)
    name = "photonic-2" if "2" in target else "photonic-1"
    assert params.platform == read((CHIP + OTHER).encode(), file="chips.yaml")[name]
    # The spec stays as it was written, and is found again under that name in messages.
    assert found.spec["tasks"]["files"]["target"] == target == str(params.target)


def test_one_that_is_overridden_is_looked_up_beside_the_spec_too(folder: Path) -> None:
    found = job(folder, "coral", SPEC, "tasks.files.target=chip.yaml")
    assert found.tasks[0].params["target"]["name"] == "chip.yaml"


@pytest.mark.parametrize(
    ("target", "messages"),
    [
        ("chap.yaml", ["nothing lies at FOLDER/chap.yaml; did you mean 'chip.yaml'?"]),
        ("chips.yaml", ["chips.yaml describes 2 platforms, photonic-1, photonic-2; expected one of "
                        "them, such as chips.yaml:photonic-1"]),
        ("chip.yaml:photonic-3", ["chip.yaml describes no platform called 'photonic-3'; did you "
                                   "mean 'photonic-1'?"]),
        ("broken.yaml", [
            'target: broken.yaml:4:13: device is "mpu"; expected one of cpu, gpu, npu; did you '
            "mean 'npu'?",
            "target: broken.yaml:8:5: unknown key 'tups'; did you mean 'tops'?",
        ]),
        ("job.yaml", ["nothing lies at FOLDER/job.yaml"]),
        (".", ["target: . can't be read: Is a directory"]),
        ("/nowhere/chip.yaml", ["target: /nowhere/chip.yaml can't be read: No such file or "
                                "directory"]),
        ("corl", ["no platform is called 'corl'; did you mean 'coral'?"]),
        ("mine", ["no platform is called 'mine'; expected one of coral, coral-dev-board, "]),
        ("3", ["target is 3; expected the name of a platform, or the path of a file that describes "
               "one, such as ./my-chip.yaml"]),
        ("{device: npu}", ["target is a map; expected the name of a platform, or the path"]),
        ("[coral]", ["target is a list; expected the name of a platform, or the path"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_said_at_its_place_and_at_the_files_own(
    folder: Path, target: str, messages: list[str]
) -> None:
    found = refused(folder, target)
    expected = [f"7:13: {each.replace('FOLDER', str(folder))}" for each in messages]
    assert len(found) == len(expected), found
    for said, wanted in zip(found, expected, strict=True):
        assert said.startswith(wanted)


def test_a_spec_in_no_file_has_nothing_beside_it() -> None:
    (found,) = refused(None, "chip.yaml")
    assert "chip.yaml would lie beside the spec, which is in no file; expected the name" in found


@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        (QUANTIZED + "    constraints: {full_integer: true}\n", "export",
         "takes models quantized int8-static, and export keeps them in floats; expected kind: "
         "quantize with target: chip.yaml"),
        ("    precision: fp16\n", "quantize", "expected kind: export with target: chip.yaml"),
        (QUANTIZED + "    constraints: {full_integer: true}\n", "quantize",
         "takes files of integers alone, which are made as litert only"),
        ("    constraints: {batch_size: 3}\n", "export\n    batch_size: 2",
         "takes a batch of 3; expected batch_size: 3"),
        ("    constraints: {opset: 13}\n", "export\n    opset: 15", "takes no opset 15"),
    ],
)  # fmt: skip
def test_what_it_does_not_take_is_a_fault_as_for_one_of_runners(
    folder: Path, more: str, kind: str, message: str
) -> None:
    (folder / "chip.yaml").write_text(CHIP + more)
    spec = SPEC.partition("  later:")[0].replace("kind: export", f"kind: {kind}")
    (found,) = refused(folder, "chip.yaml", spec)
    assert message in found


@pytest.mark.parametrize(
    ("described", "asked", "message"),
    [
        ({"formats": ["executorch"], "operators": {"CONV": None}}, {"formats": ["executorch"]},
         "nobody here can read in executorch files"),
        ({"formats": ["openvino"], "constraints": {"activations": "symmetric"}},
         {"formats": ["openvino"], "scheme": "int8-static"}, "makes in onnx files only"),
        ({"formats": ["onnx"], "constraints": {"activations": "symmetric"}},
         {"formats": ["onnx"], "scheme": "int8-qat"}, "and not int8-qat in onnx"),
    ],
)  # fmt: skip
def test_what_no_file_can_be_made_to_be_is_said(
    described: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    known = platforms()["x86-cpu"].model_dump(exclude_unset=True)
    platform = type(platforms()["x86-cpu"]).model_validate({**known, **described})
    (found,) = targets.unmade(platform, **asked)
    assert message in found


@pytest.mark.parametrize("name", platforms())
def test_files_for_runners_own_can_all_be_made(name: str) -> None:
    platform = targets.find(name)
    assert targets.unmade(platform, formats=platform.formats[:1], scheme=platform.scheme) == []


def test_editors_complete_names_and_take_paths() -> None:
    checker = jsonschema.Draft202012Validator(schema())
    for target, is_right in (("coral", True), ("./chip.yaml", True), ("corl", False)):
        task = {"kind": "export", "model": "/m", "data": {"name": "digits"}, "target": target}
        assert checker.is_valid({"name": "job", "tasks": {"a": task}}) is is_right


def test_quantize_takes_what_the_file_leaves_no_choice_of(folder: Path) -> None:
    (folder / "chip.yaml").write_text(CHIP + QUANTIZED)
    spec = SPEC.partition("  later:")[0].replace("export", "quantize")
    (task,) = job(folder, "chip.yaml", spec).tasks
    params = QuantizeParams.model_validate(task.params, strict=False)
    assert (params.asked_scheme, params.asked_runtime) == ("int8-static", "onnx")
