"""Augmentation: each image by itself, the same on any number of ranks, and training images only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from training import make_model, train, weights

from runner.errors import TaskError
from runner.torchlib.augmentation import Augmentation
from runner.torchlib.batches import Batching, Share, epoch_order, epoch_windows
from runner.torchlib.data import Dataset


def images(data: Dataset, samples: int, *, channels: int = 2, height: int = 9) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    # No pixel is zero, and so none looks blank that is not.
    inputs = 1 + torch.rand(samples, channels, height, 7, generator=generator)
    return replace(
        data,
        train_inputs=inputs,
        train_targets=torch.arange(samples) % 10,
        input_shape=(channels, height, 7),
    )


def changed(data: Dataset, *, seed: int = 0, epoch: int = 0, **settings: int) -> Tensor:
    draws = Augmentation(**settings).draw(data, seed=seed, epoch=epoch)  # type: ignore[arg-type]
    return draws(data.train_inputs, torch.arange(len(data.train_inputs)))


def by_hand(image: Tensor, *, flip: bool, crop: tuple[int, int, int], hole: list[int]) -> Tensor:
    """With slices only: ``crop`` is border, down, right; ``hole`` is top, bottom, left, right."""
    border, down, right = crop
    channels, height, width = image.shape
    canvas = torch.zeros(channels, height + 2 * border, width + 2 * border)
    flipped = torch.stack([image[..., x] for x in range(width - 1, -1, -1)], -1) if flip else image
    canvas[:, border : border + height, border : border + width] = flipped
    out = canvas[:, down : down + height, right : right + width].clone()
    top, bottom, left, right = (max(0, edge) for edge in hole)
    out[:, top:bottom, left:right] = 0
    return out


@pytest.mark.parametrize("side", [3, 4])
def test_each_image_as_by_hand(digits: Dataset, side: int) -> None:
    data = images(digits, 200)
    augmentation = Augmentation(flip=True, crop=2, cutout=side)
    draws = augmentation.draw(data, seed=3, epoch=1)
    indices = torch.randperm(200)[:150]
    got = draws(data.train_inputs[indices], indices)
    for image, index in zip(got, indices.tolist(), strict=True):
        top, left = (int(centre[index]) - side // 2 for centre in draws.centres)
        expected = by_hand(
            data.train_inputs[index],
            flip=bool(draws.flips[index]),
            crop=(2, int(draws.moves[0][index]), int(draws.moves[1][index])),
            hole=[top, top + side, left, left + side],
        )
        assert torch.equal(image, expected)


def test_what_happens_is_spread_evenly(digits: Dataset) -> None:
    data = images(digits, 4000)
    draws = Augmentation(flip=True, crop=2, cutout=3).draw(data, seed=0, epoch=0)
    assert 0.45 < draws.flips.float().mean() < 0.55
    for numbers, choices in (*((move, 5) for move in draws.moves), *zip(draws.centres, (9, 7))):  # noqa: B905
        counts = torch.bincount(numbers)
        assert len(counts) == choices
        assert counts.min() > 0.8 * 4000 / choices
    pairs = torch.stack([draws.flips.float(), *(n.float() for n in (*draws.moves, *draws.centres))])
    assert (torch.corrcoef(pairs) - torch.eye(5)).abs().max() < 0.08, "independent of each other"


def test_another_epoch_and_seed_are_other_changes(digits: Dataset) -> None:
    data = images(digits, 50)
    one = changed(data, crop=2)
    assert torch.equal(one, changed(data, crop=2))
    assert not torch.equal(one, changed(data, crop=2, epoch=1))
    assert not torch.equal(one, changed(data, crop=2, seed=1))
    assert torch.equal(changed(data, flip=1), changed(data, flip=1))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("micro", [1, 4, 8])
def test_no_matter_who_takes_a_sample(digits: Dataset, ranks: int, micro: int) -> None:
    data = images(digits, 27)
    draws = Augmentation(flip=True, crop=1, cutout=2).draw(data, seed=5, epoch=2)
    order = epoch_order(27, seed=5, epoch=2)
    expected = draws(data.train_inputs[order], order)
    place = {int(index): position for position, index in enumerate(order)}
    seen = 0
    for rank in range(ranks):
        for window in epoch_windows(
            (data.train_inputs, torch.arange(27)),
            batching=Batching(
                global_batch_size=8 * ranks, micro_batch_size=micro, share=Share(rank, ranks)
            ),
            seed=5,
            epoch=2,
            device="cpu",
            layout=torch.contiguous_format,
            change=draws,
        ):
            for (inputs, indices), kept in window.portions:
                for image, index in zip(inputs[:kept], indices[:kept].tolist(), strict=True):
                    assert torch.equal(image, expected[place[index]])
                    seen += 1
    assert seen == 27


class Watching(nn.Module):
    """Hands each batch to ``look`` before the model that learns."""

    def __init__(self, model: nn.Module, look: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.model = model
        self.look = look

    def forward(self, inputs: Tensor) -> Tensor:
        self.look(inputs)
        logits: Tensor = self.model(inputs)
        return logits


def test_only_what_is_trained_on_is_changed(digits: Dataset) -> None:
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    model = Watching(make_model(digits, hidden=[8]), lambda x: seen[model.training].append(x))
    train(model, digits, batch=256, augmentation=Augmentation(cutout=4))
    blank = [(batch[:, 0] == 0).flatten(1).any(1).float().mean() for batch in seen[True]]
    assert sum(len(batch) for batch in seen[True]) == 1437
    assert min(blank) > 0.9
    assert torch.equal(torch.cat(seen[False]), digits.test_inputs)


def test_augmented_training_repeats_to_the_bit(digits: Dataset) -> None:
    def trained(**settings: object) -> Tensor:
        model = make_model(digits, "convnet", channels=[4], hidden=0, pool_every=1)
        augmentation = Augmentation(flip=True, crop=1)
        train(model, digits, max_steps=30, augmentation=augmentation, **settings)  # type: ignore[arg-type]
        return weights(model)

    one = trained()
    assert torch.equal(one, trained())
    assert not torch.equal(one, trained(seed=1))


def test_data_that_can_not_be_augmented(digits: Dataset, text: Dataset) -> None:
    with pytest.raises(TaskError, match="augment changes images, and this data is none"):
        Augmentation(flip=True).check(text)
    with pytest.raises(TaskError, match="crop by 8 pixels leaves nothing of images of 8x8"):
        Augmentation(crop=8).check(digits)
    with pytest.raises(TaskError, match="cutout by 9 pixels"):
        Augmentation(cutout=9).check(digits)
    Augmentation(crop=7, cutout=7).check(digits)
