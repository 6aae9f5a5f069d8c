"""What the kinds have in common that change a model of PyTorch or make something of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.kinds import Makers

if TYPE_CHECKING:
    from runner.data.dataset import Dataset
    from runner.data.described import Described
    from runner.kinds.training import MeasuredDataParams


def data_for(params: MeasuredDataParams, described: Described) -> Dataset:
    """The data that ``params`` name, made ready for a model that exists already."""
    from runner.data import load

    return load(**params.model_dump(), block_size=described.block_size, like=described.preparation)


def check_models(kind: str, makers: Makers, *names: str, otherwise: str = "") -> None:
    """Raises ValueError where one of these parameters refers to what is no such model.

    ``otherwise`` says what to do with a model of Keras.
    """
    for name in names:
        for maker in makers.get(name, ()):
            if maker.framework != "torch":
                raise ValueError(
                    f"'{name}' is made by a task of Keras, and {kind} takes models of PyTorch; "
                    f"expected {otherwise or 'one of kind train, distill or prune'}"
                )
            if not maker.is_model:
                raise ValueError(
                    f"'{name}' is what {maker.kind} makes of a model for its runtime, and {kind} "
                    "takes models that can still be changed; expected the one that it is made of"
                )
