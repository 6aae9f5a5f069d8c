"""Checkpoints in storage at a URI: as on a disk, though nothing can be renamed there."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from training import make_model, series, train

from runner.errors import TaskError
from runner.model import Fact
from runner.storage import Remote
from runner.torchlib import checkpoint_files as files
from runner.torchlib.checkpoint import Checkpoints
from runner.torchlib.data import Dataset


@pytest.fixture(params=["file", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    if request.param == "s3":
        return Remote(f"{request.getfixturevalue('bucket')}/runs/r/t/1/checkpoints")
    return Remote(f"file://{tmp_path}/checkpoints")


def run(data: Dataset, steps: int = 29, **settings: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    model = make_model(data, "convnet", channels=[4], hidden=0, pool_every=1, dropout=0.2)
    events = train(model, data, max_steps=steps, ema=0.9, **settings)
    return events, model.state_dict()


def test_to_the_last_bit_and_no_more_are_kept(digits: Dataset, folder: Remote) -> None:
    whole, expected = run(digits)
    run(digits, checkpoints=folder, stop_after=25)
    assert folder.names() == ["step-00000021", "step-00000024"]
    assert {*(folder / "step-00000024").sizes()} == {
        ".metadata", "__0_0.distcp", "checkpoint.json", "random-0.json",
    }  # fmt: skip
    resumed, found = run(digits, checkpoints=folder)
    assert series(resumed, "checkpoint/resumed_at_step") == [(None, 24)]
    assert series(resumed, "train/loss") == series(whole, "train/loss")[24:]
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


@pytest.mark.parametrize("cut", ["manifest", "tensors", "missing", "torn manifest"])
def test_one_that_was_cut_short_is_passed_over(digits: Dataset, folder: Remote, cut: str) -> None:
    run(digits, steps=8, checkpoints=folder)
    newest = folder / "step-00000006"
    assert files.newest([folder]) == newest
    if cut == "manifest":
        (newest / "checkpoint.json").remove()
    elif cut == "tensors":
        data = (newest / "__0_0.distcp").read()
        assert data is not None
        (newest / "__0_0.distcp").write(data[:-1])
    elif cut == "missing":
        (newest / ".metadata").remove()
    else:
        (newest / "checkpoint.json").write((newest / "checkpoint.json").read(5) or b"")
    assert files.newest([folder]) == folder / "step-00000003"
    resumed, _ = run(digits, steps=8, checkpoints=folder)
    assert series(resumed, "checkpoint/resumed_at_step") == [(None, 3)]


def test_a_step_does_not_wait_for_storage(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of it on the training's own thread once the first step is done."""
    asked: set[str] = set()
    is_under_way = False
    listing, save_if_due = Remote._files, Checkpoints.save_if_due

    def watched(self: Remote) -> Any:
        if is_under_way:
            asked.add(threading.current_thread().name)
        return listing(self)

    def begun(self: Checkpoints, *given: Any) -> None:
        nonlocal is_under_way
        is_under_way = True
        save_if_due(self, *given)

    monkeypatch.setattr(Remote, "_files", watched)
    monkeypatch.setattr(Checkpoints, "save_if_due", begun)
    run(digits, steps=7, checkpoints=Remote(f"file://{tmp_path}/checkpoints"))
    assert asked and threading.main_thread().name not in asked


@pytest.mark.parametrize("of_it", ["random-0.json", "__0_0.distcp"])
def test_a_checkpoint_that_can_not_be_put_is_told_and_the_next_one_is_written(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_it: str
) -> None:
    folder = in_the_way(tmp_path, monkeypatch, of_it, steps=[3])
    events, _ = run(digits, steps=8, checkpoints=folder)
    (said,) = [event for event in events if isinstance(event, Fact)]
    assert said.name == "checkpoints"
    assert re.match(r"the checkpoint file://.*step-00000003 can't be written: ", said.text)
    assert files.is_whole(folder / "step-00000006")


def test_the_third_in_a_row_ends_the_training(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = in_the_way(tmp_path, monkeypatch, "random-0.json", steps=[3, 6, 9])
    wanted = r"step-00000009 can't be written: .*, nor could the 2 before it"
    with pytest.raises(TaskError, match=wanted) as caught:
        run(digits, steps=14, checkpoints=folder)
    assert "storage can be reached" in caught.value.hint


def in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_it: str, *, steps: list[int]
) -> Remote:
    """A folder in which something else has the name of a file of these checkpoints."""
    monkeypatch.setattr(files, "tidy", lambda folder: None)
    monkeypatch.setattr(files, "newest", lambda folders: None)
    for step in steps:
        (tmp_path / "checkpoints" / f"step-{step:08d}" / of_it).mkdir(parents=True)
    return Remote(f"file://{tmp_path}/checkpoints")


def test_one_that_can_not_be_read_is_not_called_another_trainings(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(digits, steps=4, checkpoints=tmp_path)
    (data,) = tmp_path.glob("step-00000003/*.distcp")
    data.unlink()
    data.mkdir()
    monkeypatch.setattr(files, "is_whole", lambda folder: True)
    with pytest.raises(TaskError, match=r"step-00000003 can't be read: .*directory") as caught:
        run(digits, steps=8, checkpoints=tmp_path)
    assert "delete" not in caught.value.hint


def test_on_a_disk_it_appears_under_its_name_when_whole(digits: Dataset, tmp_path: Path) -> None:
    run(digits, steps=8, checkpoints=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000006"]
    manifest = json.loads((tmp_path / "step-00000006" / "checkpoint.json").read_text())
    assert manifest["step"] == 6 and {*manifest["files"]} == {
        ".metadata", "__0_0.distcp", "random-0.json",
    }  # fmt: skip
