"""Samples told by their content, and models that are not measured on what they have seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training import make_model

from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib import data
from runner.torchlib.artifact import LoadedModel, check_data, load, save
from runner.torchlib.data import Dataset, origin_of
from runner.torchlib.distillation import make_objective

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(60, 3).astype(np.float32)
Y = np.arange(60) % 3
GPT = {"dim": 8, "depth": 1, "heads": 1}


def loaded_from(folder: Path, dataset: Dataset) -> LoadedModel:
    """A model that says it was trained on ``dataset``, as it comes back from its folder."""
    name, args = ("gpt", GPT) if dataset.task == "language" else ("mlp", {"hidden": [4]})
    model = make_model(dataset, name, **args)
    save(folder, model, spec=ModelSpec(name=name, args=args), dataset=dataset)
    return load(folder)


def npz(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def test_neither_order_nor_format_nor_split_changes_what_the_samples_are(tmp_path: Path) -> None:
    whole = data.load(path=npz(tmp_path / "a.npz", x=X, y=Y))
    order = RANDOM.permutation(60)
    others = [
        data.load(path=npz(tmp_path / "b.npz", x=X[order], y=Y[order].astype(str))),
        data.load(path=npz(tmp_path / "c.npz", x=X.astype(np.float64), y=Y), test_fraction=0.5),
        data.load(path=npz(tmp_path / "d.npz", x_train=X[:40], y_train=Y[:40],
                           x_test=X[40:], y_test=Y[40:])),
    ]  # fmt: skip
    table = [",".join(["kind", "a", "c", "b"])]
    table += [f"{kind},{a!r},{c!r},{b!r}" for kind, (a, b, c) in zip(Y, X.tolist(), strict=True)]
    (tmp_path / "e.csv").write_text("\n".join(table))
    others.append(data.load(path=str(tmp_path / "e.csv"), label="kind"))
    assert {origin_of(other).samples for other in others} == {origin_of(whole).samples}
    assert len({origin_of(other).train for other in [whole, *others[:3]]}) == 4
    assert origin_of(others[3]).train == origin_of(whole).train
    for x, y in ((X + 1, Y), (X, Y[::-1]), (X[:-1], Y[:-1])):
        changed = data.load(path=npz(tmp_path / "f.npz", x=x, y=y))
        assert origin_of(changed).samples != origin_of(whole).samples


def test_what_a_model_was_trained_on_is_kept_with_it(tmp_path: Path, digits: Dataset) -> None:
    loaded = loaded_from(tmp_path / "model", digits)
    assert loaded.trained_on == digits.origin
    assert (loaded.trained_on.train_samples, loaded.trained_on.test_samples) == (1437, 360)
    assert (loaded.trained_on.test_fraction, loaded.trained_on.seed) == (0.2, 0)


def test_a_data_set_made_by_hand_is_told_by_its_tensors(tmp_path: Path, digits: Dataset) -> None:
    by_hand = replace(digits, origin=None)
    loaded = loaded_from(tmp_path / "model", by_hand)
    check_data(loaded, by_hand)
    swapped = replace(by_hand, test_inputs=by_hand.train_inputs, test_targets=by_hand.train_targets)
    with pytest.raises(TaskError, match="trained on exactly the 1,437 samples"):
        check_data(loaded, swapped)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_another_split_of_the_same_data_is_refused(
    tmp_path: Path, digits: Dataset, fraction: float
) -> None:
    loaded = loaded_from(tmp_path / "model", digits)
    other = data.load(name="digits", test_fraction=fraction)
    message = (
        "the model mlp was trained on this data with test_fraction: 0.2, which left 1,437 samples "
        f"for training; with test_fraction: {fraction}, some of these would be measured"
    )
    with pytest.raises(TaskError, match=message) as caught:
        check_data(loaded, other)
    assert caught.value.hint == "write test_fraction: 0.2"
    with pytest.raises(TaskError, match="some of these would be measured"):
        make_objective(loaded, other, temperature=2.0, alpha=0.5)


def test_another_seed_another_order_and_the_training_part_alone_are_refused(
    tmp_path: Path,
) -> None:
    file = npz(tmp_path / "a.npz", x=X, y=Y)
    loaded = loaded_from(tmp_path / "model", data.load(path=file))
    like = loaded.preparation
    with pytest.raises(TaskError, match=r"with test_fraction: 0\.2 and seed 3, some"):
        check_data(loaded, data.load(path=file, like=like, seed=3))
    shuffled = npz(tmp_path / "b.npz", x=X[::-1], y=Y[::-1])
    with pytest.raises(TaskError, match="trained on this data in another order"):
        check_data(loaded, data.load(path=shuffled, like=like))
    own = data.load(path=file)
    scale = [np.array(own.preprocessing[key]) for key in ("std", "mean")]
    rows = (own.train_inputs.double().numpy() * scale[0] + scale[1]).astype(np.float32)
    kept = [index for index, row in enumerate(X) if np.abs(rows - row).max(1).min() < 1e-4]
    trained = npz(tmp_path / "c.npz", x=X[kept], y=Y[kept])
    with pytest.raises(TaskError, match="trained on exactly the 48 samples"):
        check_data(loaded, data.load(path=trained, like=like))


def test_all_rows_include_those_it_was_trained_on(tmp_path: Path, digits: Dataset) -> None:
    loaded = loaded_from(tmp_path / "model", digits)
    whole = data.load(name="digits", test_fraction=1.0, like=loaded.preparation)
    assert len(whole.test_inputs) == 1797 and len(whole.train_inputs) == 0
    with pytest.raises(TaskError, match="test_fraction: 1, some of these"):
        check_data(loaded, whole)


def test_what_is_held_out_where_nobody_says(tmp_path: Path) -> None:
    file = npz(tmp_path / "a.npz", x=X, y=Y)
    loaded = loaded_from(tmp_path / "model", data.load(path=file, test_fraction=0.4))
    again = data.load(path=file, like=loaded.preparation)
    assert len(again.test_inputs) == 24
    check_data(loaded, again)
    new = data.load(path=npz(tmp_path / "b.npz", x=X + 5, y=Y), like=loaded.preparation)
    assert len(new.test_inputs) == 60 and len(new.train_inputs) == 0
    check_data(loaded, new)
    part = data.load(
        path=npz(tmp_path / "b.npz", x=X + 5, y=Y), like=loaded.preparation, test_fraction=0.5
    )
    assert len(part.test_inputs) == 30
    check_data(loaded, part)


def stdlib(size: int, fraction: float | None = None, **more: object) -> Dataset:
    return data.load(
        name="stdlib", args={"bytes": size}, block_size=32, test_fraction=fraction, **more
    )  # type: ignore[arg-type]


def test_text_that_was_trained_on_is_refused_and_what_follows_it_is_not(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path / "model", stdlib(40_000, 0.25))
    assert loaded.trained_on.train_bytes == 30_000
    for size, fraction in ((40_000, 0.3), (20_000, 0.25), (40_000, 1.0)):
        with pytest.raises(TaskError, match="trained on this text up to byte 30,000"):
            check_data(loaded, stdlib(size, fraction, like=loaded.preparation))
    for size, fraction in ((40_000, None), (40_000, 0.2), (60_000, 0.4)):
        check_data(loaded, stdlib(size, fraction, like=loaded.preparation))
    (tmp_path / "new.txt").write_bytes(b"Something else entirely. " * 50)
    new = data.load(path=str(tmp_path / "new.txt"), block_size=32, like=loaded.preparation)
    assert len(new.test_inputs) == (1250 - 1) // 32 and len(new.train_inputs) == 0
    check_data(loaded, new)


def test_data_of_another_task_than_the_models(
    tmp_path: Path, digits: Dataset, text: Dataset
) -> None:
    of_digits = loaded_from(tmp_path / "digits", digits).preparation
    of_text = loaded_from(tmp_path / "text", text).preparation
    with pytest.raises(TaskError, match="made for classification, and this data is for language"):
        stdlib(20_000, like=of_digits)
    with pytest.raises(TaskError, match="made for language, and this data is for classification"):
        data.load(name="digits", like=of_text)


def test_samples_of_another_width_than_the_models(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path / "model", data.load(path=npz(tmp_path / "a.npz", x=X, y=Y)))
    with pytest.raises(TaskError, match="samples of 3 features or channels, these have 2"):
        data.load(path=npz(tmp_path / "b.npz", x=X[:, :2], y=Y), like=loaded.preparation)
