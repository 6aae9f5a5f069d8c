"""kind: quantize by several workers: each makes its share of what is tried."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SpecError, TaskError
from runner.kinds import making
from runner.kinds.candidates import Candidate
from runner.kinds.schemes import Choice, choices
from runner.spec import load
from tests.conftest import Command

SPEC = """\
name: together
tasks:
  model:
    kind: train
    model: {name: mlp, args: {hidden: [64, 64]}}
    data: {name: digits}
    max_epochs: 10
    resources: {cpus: 0.5}
  int8:
    kind: quantize
    model: ${tasks.model.outputs.model}
    data: {name: digits}
    resources: {cpus: 0.5, num_workers: 2}
"""


def test_two_workers_try_what_one_would(warm: Command, spec: Callable[..., str]) -> None:
    done = warm("submit", spec(SPEC))
    assert done.code == 0, done.err
    (path,) = (warm.folder / "runs").glob("*/report.json")
    task: dict[str, Any] = json.loads(path.read_text())["tasks"]["int8"]
    tried = {name.split("/")[1] for name in task["metrics"] if name.startswith("tried/")}
    facts = told(path.parent)
    left_out = {name.split(": ")[1] for name in facts if name.startswith("left out")}
    wanted = choices("auto", "auto")
    assert tried | {name.replace(" ", "-") for name in left_out} == {each.name for each in wanted}
    by = {rank for rank in (0, 1) if {each.name for each in wanted[rank::2]} & tried}
    assert by == {0, 1}, "both had something to make"
    kept = facts["kept"].split(",")[0].replace(" ", "-")
    assert task["metrics"]["size/model_mb"] == task["metrics"][f"tried/{kept}/size/model_mb"]


def told(run: Path) -> dict[str, str]:
    records = map(json.loads, (run / "records.jsonl").read_text().splitlines())
    return {
        each["data"]["name"]: each["data"]["text"]
        for each in records
        if each["event"] == "fact" and each["task"] == "int8"
    }


def candidate(folder: Path, choice: Choice) -> Candidate:
    folder.mkdir(parents=True)
    (folder / "parts").mkdir()
    (folder / "parts" / "weights.bin").write_bytes(choice.name.encode())
    recipe: Any = None
    return Candidate(choice=choice, recipe=recipe, folder=folder)


def test_what_others_made_comes_with_its_files_in_the_order_that_was_wanted(tmp_path: Path) -> None:
    wanted = choices("auto", "auto")[:4]
    first = making._Share(
        made=[candidate(tmp_path / "here" / "1", wanted[0])],
        left_out={wanted[2]: TaskError("no time for it")},
    )
    theirs = [candidate(tmp_path / "there" / f"{i}", wanted[i]) for i in (3, 1)]
    second = making._Share(made=theirs, files=[making._files(each.folder) for each in theirs])
    share = making._joined([first, second], tmp_path / "scratch", wanted)
    assert [each.choice for each in share.made] == [wanted[0], wanted[1], wanted[3]]
    assert list(share.left_out) == [wanted[2]]
    for each in share.made:
        assert (each.folder / "parts" / "weights.bin").read_text() == each.choice.name
    assert all(each.folder.is_relative_to(tmp_path / "scratch") for each in share.made[1:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SPEC + "    scheme: int8-static\n    runtime: onnx\n",
            "num_workers 2: each tries its share of schemes and runtimes, and there is one to try; "
            "expected num_workers 1, or a scheme or runtime that nothing fixes (auto, and no "
            "target)",
        ),
        (
            SPEC.replace("num_workers: 2", "num_workers: 40"),
            f"there are at most {len(choices('auto', 'auto', task='embedding'))} to try; "
            "expected num_workers",
        ),
    ],
)
def test_workers_that_would_have_nothing_to_try(text: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load(text.encode(), file="job.yaml", environment={})
    assert message in str(raised.value)
